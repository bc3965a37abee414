"""One training run: its plan, its directory, training, results, and reading it back."""
