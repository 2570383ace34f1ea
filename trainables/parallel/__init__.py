"""A trial on several worker processes of one machine."""
