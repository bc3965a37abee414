"""Studies: comparisons of several runs, and evaluations of trained networks."""
