"""What must survive of a run, and how it is written down."""
