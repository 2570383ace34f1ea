"""The rules that decide without a model; all engines and loops share them."""
