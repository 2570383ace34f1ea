"""The page of a run: figures, sentences and tables made from its record, and the formats they are written in."""
