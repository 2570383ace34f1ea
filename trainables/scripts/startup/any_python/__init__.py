"""The folder that a trial's PYTHONPATH begins with."""
