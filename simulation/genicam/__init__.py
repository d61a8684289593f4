"""Cameras in software that a station reaches through the real libraries of real cameras.

``gige.py`` is a GigE Vision camera over real UDP, ``gentl.c`` a GenTL producer. What they see of the plant is
:class:`~simulation.genicam.view.View`.
"""
