"""``station simulate``: frames of simulated housings with their ground truth, as files."""

from __future__ import annotations
