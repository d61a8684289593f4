"""Synthetic defects: sampling, pasting, the gate they must pass, and how many of them to train with."""
