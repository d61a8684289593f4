"""Classifiers: one file an architecture."""
