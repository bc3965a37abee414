"""Training: steps, the loop, the optimizer, checkpoints; it knows no method and no model."""
