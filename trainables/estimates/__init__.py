"""The estimates that policies use."""
