"""The report of one training run."""
