"""A simulated robot cell, a process of its own on the other end of a serial line."""
