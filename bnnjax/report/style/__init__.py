"""The look of reports: numbers, tables, pages, plots and colours."""
