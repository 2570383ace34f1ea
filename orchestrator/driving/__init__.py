"""The parts of a driver: recording, retention of checkpoints, assignments, jobs, and the time spent."""
