"""Reports: tables, plots and HTML pages, made from records alone."""
