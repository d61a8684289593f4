"""Training sets as the station sees them: product surfaces with a class for each pixel."""

from retraining.surfaces.training_set import (
    SOUND,
    Surfaces,
    join_surfaces,
    load_surfaces,
    resize_mask,
    save_surfaces,
)

__all__ = [
    "SOUND",
    "Surfaces",
    "join_surfaces",
    "load_surfaces",
    "resize_mask",
    "save_surfaces",
]
