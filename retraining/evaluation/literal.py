"""Algorithm 1 taken literally, as a rival in ``station bench``: a loop over the patches in torch, fp32.

Speed does not depend on the weights, so the network is fresh.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from models.classifiers.inception_cnn import InceptionCNN
from station.recipe import Recipe


def literal_algorithm_1(recipe: Recipe) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Lines 2-7 of Algorithm 1: one array per patch, kept in a list, one prediction per patch."""
    network = InceptionCNN(len(recipe.classes), recipe.surface.channels, recipe.patch.size).eval()

    def scores(patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        arrays = []
        for patch in patches:
            arrays.append(patch.transpose(2, 0, 1)[np.newaxis].astype(np.float32) / 255)
        predictions = []
        with torch.inference_mode():
            for array in arrays:
                predictions.append(torch.softmax(network(torch.from_numpy(array)), dim=1).numpy()[0])
        return np.stack(predictions)

    return scores
