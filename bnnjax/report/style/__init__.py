"""What reports look like: numbers, tables, pages, colors."""
