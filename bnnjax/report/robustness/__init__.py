"""Tables, plots and pages of robustness evaluations."""
