"""Readers of the record. No writer imports them."""
