"""Drift per shift: what moved, in units of its alarm, and whether the camera or the product is the cause."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from station.engines.manifest import Spread, UsualParts
from station.journal.audit import audit
from station.journal.reading import JournalReader
from station.shadow.drift import (
    BRIGHTNESS,
    CLASSES,
    CONFIDENCE,
    FOCUS,
    LEAST,
    NOVELTY,
    Look,
    Seen,
    Training,
    Usual,
    Window,
    cause_of,
    drifted,
    look_of,
    measures,
)
from station.shadow.drift_observer import Drift

if TYPE_CHECKING:
    from tests.station.rare.conftest import Bench

GOLDEN = Training(tuple(Look(100 + one, 0.05) for one in (-3, 0, 3)), far=0.02, far_of=200)

KNOWN = replace(
    GOLDEN,
    usual=UsualParts(
        parts=80,
        brightness=Spread(mean=100.0, spread=4.0),
        focus=Spread(mean=0.05, spread=0.003),
        confidence=Spread(mean=0.98, spread=0.02),
    ),
)
"""The same, of an engine that says how good parts look and end."""


def shift(
    seed: int = 1,
    parts: int = 600,
    *,
    brightness: float = 100.0,
    focus: float = 0.05,
    bad: float = 0.05,
    far: float = 0.02,
    confidence: float = 0.98,
) -> Window:
    rng, window = np.random.default_rng(seed), Window()
    for _ in range(parts):
        is_bad, sure = rng.random() < bad, rng.normal(confidence, 0.02)
        look = Look(rng.normal(brightness, 4), rng.normal(focus, 0.003))
        far_too = None if is_bad else bool(rng.random() < far)
        window.add(Seen(look, "pits" if is_bad else "good", not is_bad, sure, far_too))
    return window


def seen(window: Window, usual: Usual | None = None, training: Training = GOLDEN) -> tuple[str, ...]:
    return drifted(measures(window, training, usual))


@pytest.mark.parametrize("training", [GOLDEN, KNOWN])
def test_shifts_like_the_training_are_silent(training: Training) -> None:
    usual = Usual.of(shift(0))
    assert [seed for seed in range(1, 30) if seen(shift(seed), usual, training)] == []
    assert [seed for seed in range(1, 30) if seen(shift(seed, parts=LEAST), usual, training)] == []


@pytest.mark.parametrize(
    ("moved", "measure", "cause"),
    [
        ({"brightness": 80.0}, BRIGHTNESS, "camera"),
        ({"focus": 0.035}, FOCUS, "camera"),
        ({"far": 0.2}, NOVELTY, "product"),
        ({"confidence": 0.93}, CONFIDENCE, "product"),
        ({"bad": 0.3}, CLASSES, "product"),
    ],
)
@pytest.mark.parametrize("training", [GOLDEN, KNOWN])
def test_each_measure_finds_what_it_is_there_for_and_names_the_cause(
    moved: dict[str, float], measure: str, cause: str, training: Training
) -> None:
    names = seen(shift(2, **moved), Usual.of(shift(0)), training)  # type: ignore[arg-type]
    assert names[0] == measure
    assert cause_of(names) == cause


def test_the_first_shift_of_an_engine_is_compared_with_what_it_was_trained_on() -> None:
    # Without what engine.yaml says, a first shift of doubtful verdicts would be the usual one.
    assert CONFIDENCE in seen(shift(1, confidence=0.9), None, KNOWN)
    assert CONFIDENCE not in measures(shift(1, confidence=0.9), GOLDEN, None)


def test_what_moves_beside_the_picture_follows_from_it() -> None:
    names = seen(shift(3, brightness=70.0, far=0.5, bad=0.4), Usual.of(shift(0)))
    assert {BRIGHTNESS, NOVELTY, CLASSES} <= set(names)
    assert cause_of(names) == "camera"


def test_nothing_is_said_of_a_few_parts_or_of_what_an_engine_cannot_say() -> None:
    assert measures(shift(parts=LEAST - 1, brightness=20.0), GOLDEN, None) == {}
    assert set(measures(shift(), Training(()), None)) == set()
    assert set(measures(shift(), GOLDEN, None)) == {BRIGHTNESS, FOCUS, NOVELTY}


@given(factor=st.floats(0.3, 1.9), seed=st.integers(0, 99))
def test_the_sharpness_of_a_surface_does_not_depend_on_its_brightness(factor: float, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(40, 120, (128, 64)).astype(np.float64)
    plain, other = look_of(pixels.astype(np.uint8)), look_of((pixels * factor).astype(np.uint8))
    assert other.focus == pytest.approx(plain.focus, rel=0.05)
    assert other.brightness == pytest.approx(plain.brightness * factor, abs=1.0)


def test_a_blurred_surface_is_less_sharp() -> None:
    pixels = np.random.default_rng(3).integers(40, 120, (128, 64, 1)).astype(np.uint8)
    blurred = ((pixels[:, :-1].astype(int) + pixels[:, 1:]) // 2).astype(np.uint8)
    assert look_of(blurred).focus < 0.8 * look_of(pixels).focus


def events(bench: Bench) -> list[dict[str, object]]:
    with JournalReader(bench.journal.path) as reader:
        return [one.values | {"record": one.record_id} for one in reader.station_events(("drift",))]


def test_each_shift_is_written_down_and_the_first_one_is_what_later_ones_are_compared_with(
    bench: Bench,
) -> None:
    observer = Drift(bench.journal, 1000, look_every_s=0.0)
    good, pits = bench.part("good"), bench.part("pits")
    marks = {"lot": "", "operator": "", "serial_number": ""}
    for name, bad in (("early", 0), ("late", 60)):
        bench.journal.write_event("marks", {**marks, "shift": name})
        for number in range(LEAST + 10):
            observer.observe(pits if number < bad else good)
    assert observer.drift[CLASSES] > 1
    assert "product drift: classes" in observer.note
    observer.close()
    early, late = (one for one in events(bench) if not one["record"])
    assert (early["shift"], early["parts"], early["drifted"]) == ("early", LEAST + 10, [])
    assert (late["shift"], late["drifted"], late["cause"]) == ("late", ["classes"], "product")
    again = Drift(bench.journal, LEAST, look_every_s=0.0)
    for _ in range(LEAST):
        again.observe(pits)
    again.close()
    assert events(bench)[-1]["drifted"] == ["classes"], "a start remembers what is usual"
    assert audit(bench.journal.path).passed


def test_a_few_parts_of_a_shift_that_drifts_are_kept_for_the_workshop(bench: Bench) -> None:
    usual, good, pits = Drift(bench.journal, LEAST, look_every_s=0.0), bench.part("good"), bench.part("pits")
    for _ in range(LEAST):
        usual.observe(good)
    observer, log = Drift(bench.journal, 1000, look_every_s=0.0), bench.log(same_below=0.0)
    for _ in range(LEAST):
        observer.observe(pits)
    for _ in range(8):
        part = bench.part("pits")
        log.observe(part)
        observer.observe(part)
    log.close()
    kept = bench.kept()
    assert 0 < len(kept) <= 5
    assert set(map(tuple, kept.values())) == {("far from training",)}
    (entry, *_) = bench.store.entries()
    assert entry.item.whys[0].text.startswith("product drift: classes is at ")
