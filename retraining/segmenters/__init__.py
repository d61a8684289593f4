"""Training of segmenters: pictures with masks, plan, loop, and the figures of a test."""
