"""Trained translators that draw a defect where a mask says: opened, used, and shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.translators.masked_unet import MaskedUNet
from models.translators.painting import COLOURS, overlaid, painted, palette
from models.translators.syndgan import SynGenerator
from retraining.errors import TrainingError
from retraining.runs.sheets import tile
from retraining.translators.loop import as_pixels, scaled
from retraining.translators.pictures import MaskedClasses
from retraining.translators.plan import MASKED, UNET, MaskedPlan

Pixels = NDArray[np.uint8]
SOFT_PX = 4
"""Width of the edge over which a composited defect passes into its surroundings."""
_CHUNK = 16
"""Pictures that are drawn at once, always as many: a decoder's noise depends on it."""
_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Drawer:
    """A trained network that draws defects where masks say."""

    plan: MaskedPlan
    classes: tuple[str, ...]
    """The background first."""
    generator: nn.Module

    @property
    def colours(self) -> dict[int, str]:
        """The colour, 0xRRGGBB, that stands for each class of defect in masks."""
        return dict(zip(COLOURS, self.classes[1:], strict=False))


def named_colours(colours: Mapping[int, str]) -> str:
    """Colours and their classes, in words, as ``--class-of`` takes them."""
    return ", ".join(f"#{colour:06x}={name}" for colour, name in colours.items())


def build_generator(plan: MaskedPlan, classes: int) -> SynGenerator | MaskedUNet:
    """The network of a plan, for ``classes`` of defects."""
    if plan.system == UNET:
        return MaskedUNet(plan.size, plan.channels, classes, widest=plan.widest)
    return SynGenerator(
        plan.size,
        plan.channels,
        classes,
        per_layer=plan.system == "syndgan-w-plus",
        widest=plan.widest,
    )


def open_drawer(weights: Path) -> Drawer:
    """A trained network, ready to draw; raises :class:`TrainingError`."""
    if not weights.is_file():
        raise TrainingError(f"there is no trained translator at {weights}; finish its run first")
    state = torch.load(weights, map_location="cpu", weights_only=True)
    if state["plan"].get("system") not in MASKED:
        raise TrainingError(
            f"{weights} knows classes, but not where on a picture; train one of {', '.join(MASKED)} by "
            "`retrain translator`"
        )
    plan, classes = MaskedPlan(**state["plan"]), tuple(state["classes"])
    generator = build_generator(plan, len(classes) - 1)
    generator.load_state_dict(state["weights"])
    return Drawer(plan, classes, generator.requires_grad_(False).eval())


def draw(drawer: Drawer, pixels: Pixels, masks: Pixels, seed: int) -> Pixels:
    """Pictures ``(N, S, S, C)`` with a defect where masks ``(N, S, S)`` of class indices say.

    The n-th depends on itself, its mask, n and the seed. Raises :class:`TrainingError` for what does not fit.
    """
    plan = drawer.plan
    expected = (plan.size, plan.size, plan.channels)
    if pixels.dtype != np.uint8 or pixels.shape[1:] != expected or masks.shape != pixels.shape[:3]:
        raise TrainingError(
            f"the translator takes uint8 (N, {', '.join(map(str, expected))}) with masks alike, not "
            f"{pixels.dtype} {pixels.shape} with {masks.shape}"
        )
    return _drawn(drawer.generator, pixels, masks, seed)


def composited(clean: Pixels, made: Pixels, masks: Pixels) -> Pixels:
    """``made`` where masks say, ``clean`` farther out than 4 px, and between a linear passage.

    Pictures ``(N, S, S, C)``, masks ``(N, S, S)``, above 0 on the defect.
    """
    free = (masks == 0).astype(np.uint8)
    away = np.stack([cv2.distanceTransform(one, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for one in free])
    share = np.clip(1 - away / (SOFT_PX + 1), 0.0, 1.0)[..., None]
    return np.rint(clean + share * (made.astype(np.float32) - clean)).astype(np.uint8)


def sheet_of(generator: nn.Module, pictures: MaskedClasses, seed: int) -> Pixels:
    """Rows of good pictures, with the masks of other pictures laid over them, and what is drawn.

    Pictures under several lights (neither 1 nor 3 channels) show each light beside the other.
    """
    good = np.flatnonzero(pictures.labels == 0)[:_SHOWN]
    marked = np.flatnonzero(pictures.labels > 0)
    marked = np.random.default_rng(seed).permutation(marked)[: len(good)]
    good = good[: len(marked)]
    clean, masks = pictures.pixels[good], pictures.masks[marked]
    hidden = overlay(clean, masks, len(pictures.classes) - 1)
    columns = np.stack([clean, hidden, _drawn(generator, clean, masks, seed)], axis=1)
    flat = columns.reshape(-1, *columns.shape[2:])
    if flat.shape[3] not in (1, 3):
        flat = np.concatenate([flat[..., [light]] for light in range(flat.shape[3])], axis=2)
    return tile(flat, columns.shape[1])


def overlay(pixels: Pixels, masks: Pixels, classes: int) -> Pixels:
    """Pictures ``(N, S, S, C)`` as a network sees them: marked pixels hidden by their class's colour."""
    named = torch.from_numpy(masks.astype(np.int64))
    planes = painted(named, palette(classes))
    return as_pixels(overlaid(scaled(pixels, torch.device("cpu")), named, planes))


def _drawn(generator: nn.Module, pixels: Pixels, masks: Pixels, seed: int) -> Pixels:
    device = next(generator.parameters()).device
    made = [np.empty((0, *pixels.shape[1:]), np.uint8)]
    for at in range(0, len(pixels), _CHUNK):
        rows = np.arange(at, at + _CHUNK) % len(pixels)
        seen = scaled(pixels[rows], device)
        named = torch.from_numpy(masks[rows].astype(np.int64)).to(device)
        with torch.inference_mode(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed * 1_000_003 + at)
            made.append(as_pixels(generator(seen, named))[: len(pixels) - at])
    return np.concatenate(made)
