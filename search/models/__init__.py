"""What searchers learn from a history."""
