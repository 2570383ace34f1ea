"""The terminal: the screen, signals, the typed command, wording."""
