"""Data sets of labelled pictures: doors, manifests, duplicates, splits, and the paper's three versions."""
