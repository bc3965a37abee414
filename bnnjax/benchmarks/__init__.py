"""Timing: training steps, input, corruptions, constraints, memory."""
