"""What a comparison of several sweeps consists of: groups of runs, their curves, verdicts and tables."""
