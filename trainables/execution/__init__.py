"""An assignment carried out: checkpoints, pauses, forks."""
