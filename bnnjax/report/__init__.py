"""Figures and pages from records: tables, plots and HTML."""
