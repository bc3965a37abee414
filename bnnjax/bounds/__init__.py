"""Lipschitz bounds: how far noise at the input can move the output of a network."""
