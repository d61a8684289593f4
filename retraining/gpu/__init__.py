"""What is measured where a GPU is lent for minutes: a package that travels, rows in slices, a table."""
