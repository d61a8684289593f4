"""The log of rare and doubtful parts, kept for the workshop beside the decision path.

``reasons.py`` says why a part is worth keeping, ``choice.py`` which of two items stays, ``items.py`` what an
item is, ``store.py`` has the folder, ``index.py`` its rows, and ``log.py`` is the observer that the
line offers its parts to.
"""
