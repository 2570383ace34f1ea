"""Mirrors: copies of a run in the tools of others. They read the ledger and never block its writer."""
