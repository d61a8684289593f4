"""Basler cameras through pypylon, and Basler's emulator."""

from drivers.cameras.pylon.camera import PylonCamera, PylonSettings

__all__ = ["PylonCamera", "PylonSettings"]
