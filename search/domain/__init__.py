"""What a search space is made of: parameters, priors, conditions, constraints."""
