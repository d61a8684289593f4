"""One file for each inference back end."""
