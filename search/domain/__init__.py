"""The parts of a search space: parameters, priors, conditions, constraints."""
