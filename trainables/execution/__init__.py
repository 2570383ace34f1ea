"""Carry out an assignment: checkpoints, pauses, forks."""
