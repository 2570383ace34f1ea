"""Run the user's script for a trial."""
