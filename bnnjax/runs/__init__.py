"""Training runs: what is asked, the plan, the directory, training, results, and reading them back."""
