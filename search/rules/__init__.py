"""What is decided without a model: rules that searchers and schedulers share."""
