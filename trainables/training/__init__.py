"""One training: the loop, the policy's control of it, its losses, its weights and the order of its data."""
