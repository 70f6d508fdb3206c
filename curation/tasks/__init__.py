"""Tasks: what a right answer looks like, how it is compared and how it goes wrong."""
