"""Benchmarks of training steps, input, corruptions, constraints and memory."""
