"""What decides in a sweep without a model: the rules that all engines and loops share."""
