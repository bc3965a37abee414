"""Tables, plots and pages that compare runs."""
