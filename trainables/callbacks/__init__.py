"""Policies in the trainers of other libraries."""
