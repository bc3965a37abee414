"""Series of runs that answer a question."""
