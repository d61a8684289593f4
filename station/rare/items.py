"""An item of the rare-defect log: everything that is known of one part, beside its picture.

The picture is the part's whole surface at the recipe's size, as PNG: the pixels that the patches were cut
from. ``cut_surface`` cuts the same patches from it again, bit by bit, so that another engine can be judged on
an item by the code of the line; and a person who labels it sees the defect in its surroundings.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from drivers.sorters.interface import Outcome
from station.decision import FAR, FAULT_CLASS, UNKNOWN_CLASS, Verdict
from station.journal.events import utc_ago
from station.part import InspectedPart
from station.patching import BoxMm, Patches, Region, Surface, cut_surface
from station.recipe import UNKNOWN, PatchGrid


class Reason(StrEnum):
    """Why a part is kept, the least informative reason first."""

    AUDIT = "audit"
    """A share of the confident parts, drawn by the record's number: the only unbiased items."""
    NEAR_A_FAULT = "near a fault"
    """The part before or after one that could not be inspected."""
    LOW_CONFIDENCE = "low confidence"
    TWO_CLASSES_CLOSE = "two classes close"
    RARE_CLASS = "rare class"
    """A defect class of which the log has had few items so far."""
    ENGINES_DISAGREE = "engines disagree"
    """Another engine judged the part differently, so one of the two verdicts is wrong."""
    FAR_FROM_TRAINING = "far from training"
    """A patch is unlike everything that the engine was trained on: perhaps a kind not seen before."""
    OPERATOR = "operator"
    """A person said what the part is."""


RANKS = {reason: rank for rank, reason in enumerate(Reason)}


@dataclass(frozen=True, slots=True)
class Why:
    """One reason to keep a part."""

    reason: Reason
    strength: float
    """0 to 1, comparable within one reason only."""
    text: str
    """The reason in words."""

    @property
    def worth(self) -> float:
        """How informative the part is by this reason: a higher reason is always worth more."""
        return RANKS[self.reason] + min(max(self.strength, 0.0), 1.0) * 0.99


def name_of(journal_id: str, record_id: int) -> str:
    """The name of an item by its journal and record, so that no part is in the log twice."""
    return f"{journal_id[:8]}-{record_id}"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the deciding patch lies."""

    in_surface: Region
    """px of the picture."""
    in_frame: Region
    """px of the camera's frame."""
    on_product: BoxMm
    """mm."""


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One part of the log."""

    journal_id: str
    record_id: int
    """The number of the part's record in that journal."""
    part_id: int
    kept_at: str
    """UTC, ISO 8601."""
    station: str
    is_simulated: bool
    recipe: str
    recipe_digest: str
    engine: str
    engine_digest: str
    backend: str
    precision: str
    config_digest: str | None
    calibration_digest: str | None
    """None: no camera is calibrated."""
    mm_per_px: tuple[float, float]
    """The size of a frame pixel across and down, mm, by the recipe."""
    outcome: str
    class_name: str
    """The station's verdict, never taken for a person's word."""
    confidence: float
    bin: int
    verdict_reason: str
    patch: int | None
    """The deciding patch."""
    labels: tuple[int, ...]
    """The class index of every patch, 0 where it is not defective; empty for a fault."""
    place: Place | None
    region: Region
    """The product in the camera's frame, px."""
    patch_size: int
    overlap_px: int
    classes: tuple[str, ...]
    scores: tuple[tuple[float, ...], ...] | None
    """(patches, classes), probabilities as the engine gave them."""
    whys: tuple[Why, ...] = ()
    said_class: str | None = None
    """What a person says that the part is."""
    said_by: str | None = None
    novelty: tuple[float, ...] | None = None
    """(patches,), above 1 = far from training; None where the engine gives none."""

    @property
    def worth(self) -> float:
        """How informative the item is, by its strongest reason."""
        return max((why.worth for why in self.whys), default=0.0)

    @property
    def is_audit(self) -> bool:
        """Whether it is kept for the audit only."""
        return all(why.reason is Reason.AUDIT for why in self.whys)

    @property
    def stays(self) -> bool:
        """Whether the quota never drops it: a person spoke of it."""
        return self.said_class is not None

    @property
    def may_repeat(self) -> bool:
        """Whether it is kept beside one like it: a sample must stay unbiased, and a person's word counts."""
        alike = (Reason.AUDIT, Reason.NEAR_A_FAULT, Reason.OPERATOR)
        return any(why.reason in alike for why in self.whys)

    def because(self, *whys: Why) -> Self:
        """The item with these reasons too; of one kind the last one counts."""
        by_reason = {why.reason: why for why in (*self.whys, *whys)}
        return replace(self, whys=tuple(sorted(by_reason.values(), key=lambda why: -why.worth)))

    def also(self, why: Why) -> Self:
        """The item with a further voice's reason beside those of others; heard twice, it changes nothing."""
        own = next((one for one in self.whys if one.reason is why.reason), None)
        if own is None:
            return self.because(why)
        if why.text in own.text:
            return self
        return self.because(Why(why.reason, max(own.strength, why.strength), f"{own.text}; {why.text}"))

    def said(self, class_name: str, by: str) -> Self:
        """The item with a person's word."""
        why = Why(Reason.OPERATOR, 1.0, f"{by} says {class_name}; the station said {self.class_name}")
        return replace(self.because(why), said_class=class_name, said_by=by)

    def verdict(self) -> Verdict:
        """The station's verdict again."""
        special = UNKNOWN_CLASS if self.class_name == UNKNOWN else FAULT_CLASS
        index = self.classes.index(self.class_name) if self.class_name in self.classes else special
        outcome = Outcome(self.outcome)
        return Verdict(
            outcome,
            index,
            self.class_name,
            self.confidence,
            self.patch,
            self.bin,
            self.verdict_reason,
            self.labels,
        )

    def patches(self, pixels: NDArray[np.uint8]) -> Patches:
        """The patches of the item's picture ``(H, W)`` or ``(H, W, C)``, cut as the line cut them."""
        surface = np.ascontiguousarray(pixels.reshape(*pixels.shape[:2], -1))
        grid = PatchGrid(size=self.patch_size, overlap_px=self.overlap_px)
        columns = grid.counts(*surface.shape[:2])[1]
        return Patches(
            cut_surface(surface, grid), Surface(surface, self.region), grid, columns, self.mm_per_px
        )

    def to_json(self) -> str:
        """The item as one JSON object."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The item again. Raises ValueError, KeyError or TypeError for what is no item."""
        values: dict[str, Any] = json.loads(text)
        place = values["place"]
        if place is not None:
            place = Place(
                Region(**place["in_surface"]), Region(**place["in_frame"]), BoxMm(**place["on_product"])
            )
        scores, novelty = values["scores"], values.get("novelty")
        return cls(
            **values
            | {
                "place": place,
                "region": Region(**values["region"]),
                "mm_per_px": tuple(values["mm_per_px"]),
                "classes": tuple(values["classes"]),
                "labels": tuple(values["labels"]),
                "scores": None if scores is None else tuple(map(tuple, scores)),
                "novelty": None if novelty is None else tuple(novelty),
                "whys": tuple(
                    Why(Reason(one["reason"]), one["strength"], one["text"]) for one in values["whys"]
                ),
            }
        )


@dataclass(frozen=True, slots=True)
class Origin:
    """What is the same for every item of one run."""

    journal_id: str
    station: str
    is_simulated: bool
    config_digest: str | None


@dataclass(frozen=True, slots=True, eq=False)
class Sighting:
    """A part that may become an item, with its picture; it holds neither engine nor frame."""

    item: Item
    pixels: NDArray[np.uint8]
    """The surface, ``(H, W, C)``."""
    features: NDArray[np.float32] | None
    """``(F,)``, of the deciding patch, or of the furthest one of a part that is far from training; None where
    the network gives none, or no patch decided."""
    by_patch: NDArray[np.float32] | None = None
    """``(N, F)``, of all patches."""

    def at(self, patch: int | None) -> Self:
        """The same, with the features of another patch, of which a further voice spoke."""
        if patch is None or self.by_patch is None:
            return self
        return replace(self, features=self.by_patch[patch])


def sighting_of(inspected: InspectedPart, patches: Patches, origin: Origin) -> Sighting:
    """What the log may keep of a part that was cut into ``patches``."""
    part, verdict, prepared = inspected.part, inspected.verdict, inspected.part.prepared
    engine, recipe, scores, patch = prepared.engine.info, prepared.recipe, part.scores, verdict.patch
    place = None
    if patch is not None:
        place = Place(patches.surface_box(patch), patches.frame_box(patch), patches.box_mm(patch))
    item = Item(
        journal_id=origin.journal_id,
        record_id=part.record_id,
        part_id=inspected.part_id,
        kept_at=utc_ago(0),
        station=origin.station,
        is_simulated=origin.is_simulated,
        recipe=recipe.name,
        recipe_digest=prepared.recipe_digest,
        engine=engine.name,
        engine_digest=engine.digest,
        backend=engine.backend,
        precision=engine.precision,
        config_digest=origin.config_digest,
        calibration_digest=prepared.calibration_digest,
        mm_per_px=patches.mm_per_px,
        outcome=str(verdict.outcome),
        class_name=verdict.class_name,
        confidence=verdict.confidence,
        bin=verdict.bin,
        verdict_reason=verdict.reason,
        patch=patch,
        labels=verdict.labels,
        place=place,
        region=patches.surface.region,
        patch_size=recipe.patch.size,
        overlap_px=recipe.patch.overlap_px,
        classes=tuple(entry.name for entry in recipe.classes),
        scores=None if scores is None else tuple(map(tuple, scores.probabilities.tolist())),
        novelty=None if scores is None or scores.novelty is None else tuple(scores.novelty.tolist()),
    )
    features = None
    if scores is not None and scores.features is not None and patch is not None:
        far = scores.novelty is not None and scores.novelty.max() > FAR
        features = scores.features[
            int(scores.novelty.argmax()) if far and scores.novelty is not None else patch
        ]
    by_patch = None if scores is None else scores.features
    return Sighting(item, patches.surface.pixels, features, by_patch)
