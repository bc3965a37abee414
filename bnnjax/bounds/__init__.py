"""How far noise at the input can move the output of a network."""
