"""From a Sweep to a ledger to a report."""
