"""Readers of the record. Writers never import them."""
