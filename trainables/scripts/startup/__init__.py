"""The folder that a trial's PYTHONPATH begins with: Python imports `sitecustomize` from it at its start."""
