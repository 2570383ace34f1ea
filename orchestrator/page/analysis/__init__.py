"""The numbers behind the sections of the page; docs/report_methods.md says how each is computed."""
