"""Photometric stereo: several pictures of one part, each under another lamp, become slopes and reflectance.

``rig.py`` says which lamps and which solver; ``solving.py`` has the two solvers; ``channels.py`` makes
curvature, range and texture, the picture that a network sees. All is pure numpy.
"""

from __future__ import annotations

from station.stereo.channels import Channels, channels
from station.stereo.rig import LitLamp, Rig, RigError, Stereo, load_rig
from station.stereo.solving import Solved, StereoError, lambert, lobe

__all__ = [
    "Channels",
    "LitLamp",
    "Rig",
    "RigError",
    "Solved",
    "Stereo",
    "StereoError",
    "channels",
    "lambert",
    "load_rig",
    "lobe",
]
