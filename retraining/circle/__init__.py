"""The whole circle, unattended: a line meets a defect that no engine knows, and the next engine knows it.

A station inspects a bad lot with an engine that was never taught one kind of defect. What it keeps travels
to the workshop, a person labels it (here: the lot's truth answers), the rare kind is pasted onto good parts,
and a new engine is trained, tested, signed, fetched by the station, proven there and activated while the line
runs. Everything is done by the commands that people use; ``python -m retraining.circle`` calls them.
"""
