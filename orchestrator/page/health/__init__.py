"""Health checks: each says in words what is wrong with a sweep, on which evidence, and what to do."""
