"""Data sets of labelled pictures: readers, manifests, duplicates, splits, and the paper's three versions."""
