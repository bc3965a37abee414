"""Flax (Linen) modules that wrap the operations; with `models`, the only place where Flax is imported."""
