"""What can happen to a plant, by name: each kind of fault is one function that makes it happen once.

A function begins the fault, lets it last, and returns when the counterpart is as it was (the cable in, the
camera there, the process started anew by whoever keeps it alive). From that moment the recovery is measured.
What is random comes from the generator alone, so that an injection can be repeated.
"""

from __future__ import annotations

from dataclasses import replace

from simulation.campaign import (
    faults_around,
    faults_inside,
    faults_of_brokers,
    faults_of_cameras,
    faults_of_opcua,
    faults_of_registers,
)
from simulation.campaign.kind import KINDS, Kind

__all__ = [
    "KINDS",
    "Kind",
    "faults_around",
    "faults_inside",
    "faults_of_brokers",
    "faults_of_cameras",
    "faults_of_opcua",
    "faults_of_registers",
]

SELDOM, RARELY = 10, 5
"""Injections of a kind that resembles another one; of one that ends the station and takes ten seconds."""

for _names, _times in (
    (
        (
            *("noise-to-cell", "frames-cut-to-cell", "frames-disordered-to-cell", "wrong-speed-to-cell"),
            *("line-slow-to-cell", "frames-doubled-to-cell", "cell-late", "cell-duplicate"),
            *("cell-of-version-1", "camera-white", "camera-saturated", "camera-dimmed", "camera-hot-pixels"),
            *("camera-noisy", "camera-wrong-size", "camera-very-late", "engine-damaged", "disk-very-slow"),
        ),
        SELDOM,
    ),
    (
        (
            *("camera-hangs", "engine-hangs", "station-hangs", "engine-blind-at-start", "engine-turns-blind"),
            *("file-size-limit", "station-killed-at-start", "wal-deleted", "wal-cut", "wal-lost-in-a-crash"),
        ),
        RARELY,
    ),
):
    for _name in _names:
        KINDS[_name] = replace(KINDS[_name], times=_times)

for _name, _kind in KINDS.items():
    if _kind.family == "camera":  # the switches of the simulated one
        KINDS[_name] = replace(_kind, cameras=("simulated",))
