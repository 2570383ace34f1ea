"""The definition of a sweep: its short form, defaults, checks, and its description in the record."""
