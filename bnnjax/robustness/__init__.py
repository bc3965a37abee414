"""Robustness of trained networks: evaluation under corruptions, and adversarial attacks."""
