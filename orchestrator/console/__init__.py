"""The terminal: the screen, signals, the command that was typed, words."""
