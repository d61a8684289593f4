"""Cameras: the interface (:mod:`drivers.cameras.interface`) and one file a camera family."""
