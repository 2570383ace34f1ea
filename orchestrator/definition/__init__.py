"""What a sweep is defined by: its short form, defaults, checks, and what the record says of it."""
