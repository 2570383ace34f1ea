"""Numbers that policies rest on."""
