"""The sections of the page: a file for each, with one public function `section(run) -> Section | None`."""
