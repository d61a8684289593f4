"""Hardware and what speaks to it. Knows nothing of inspection and imports nothing of ours."""
