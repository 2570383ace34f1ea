"""Train one trial with several worker processes on one machine."""
