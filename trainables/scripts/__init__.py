"""Running a script of the user's for a trial."""
