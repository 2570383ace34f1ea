"""Read data sets."""
