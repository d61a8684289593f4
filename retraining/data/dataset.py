"""What the other rooms need of data sets: the manifest (:mod:`.manifest`) and the pixels (:mod:`.pixels`)."""

from retraining.data.manifest import Dataset, Picture, load_dataset, save_dataset
from retraining.data.pixels import PictureSet, join, load_pixels

__all__ = ["Dataset", "Picture", "PictureSet", "join", "load_dataset", "load_pixels", "save_dataset"]
