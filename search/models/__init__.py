"""The models that searchers fit to a history."""
