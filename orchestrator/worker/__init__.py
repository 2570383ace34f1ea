"""A trial in its worker process: its log, its limits, its isolation."""
