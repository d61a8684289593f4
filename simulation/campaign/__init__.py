"""Attacks on a whole plant of processes, for hours, and the checker that believes none of them.

``python -m simulation.campaign`` starts a station by its command line, a simulated cell and the wire between
them, and does to them what happens in plants (:mod:`kinds`). What came of it is read by :mod:`checker` from
the journal's database, the cell's log, the wire and the camera's log, with no code of the station.
"""
