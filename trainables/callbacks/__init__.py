"""A policy in the trainers of other libraries."""
