"""Rendered machined surfaces: metal, defects, parts, optics, and the pool of frames."""
