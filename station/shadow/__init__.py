"""A candidate engine beside the active one: its verdicts, what they are worth, and drift per shift."""
