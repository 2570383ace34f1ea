"""The durable record of a run, and how it is written."""
