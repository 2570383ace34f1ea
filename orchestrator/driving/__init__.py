"""The parts of a driver: what it records, keeps, hands out and counts."""
