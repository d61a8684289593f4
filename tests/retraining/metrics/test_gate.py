"""The gate for synthetic pictures, and their best share."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from retraining.data.dataset import PictureSet
from retraining.errors import MetricsError
from retraining.metrics import Extractor
from retraining.synthesis.gate import (
    GateRules,
    gate,
    gate_classes,
)
from retraining.synthesis.shares import PAPER_SHARES, ShareCurve, best_share, draw_shares

Draw = Callable[..., np.ndarray]


def _sure(count: int, label: int = 1) -> np.ndarray:
    return np.eye(3)[np.full(count, label)] * 0.9 + 0.1 / 3


def test_real_pictures_that_were_held_back_pass_the_gate(
    real: np.ndarray, draw: Draw, extractor: Extractor
) -> None:
    found = gate(real, draw(60, 2), extractor, scores=_sure(60), label=1)
    assert len(found.kept) >= 50


def test_every_reason_is_given_to_those_it_is_made_for(
    real: np.ndarray, draw: Draw, extractor: Extractor
) -> None:
    fresh = draw(6, 21)
    noise = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 1)).astype(np.uint8)
    fake = np.concatenate([real[:2], noise, fresh, fresh[:1]])
    scores = _sure(len(fake))
    scores[4] = [0.8, 0.1, 0.1]
    scores[5] = [0.3, 0.4, 0.3]
    found = gate(real, fake, extractor, scores=scores, label=1)
    assert found.reasons[:6] == ("copy", "copy", "outlier", "outlier", "other class", "unsure")
    assert set(found.reasons[6:10]) <= {"kept", "outlier"}
    assert list(found.kept) == [n for n, reason in enumerate(found.reasons) if reason == "kept"]
    assert sum(found.count().values()) == len(fake)
    repeated = gate(real, np.concatenate([fresh, fresh]), extractor)
    assert "kept" not in repeated.reasons[6:]
    assert "repeat" in repeated.reasons[6:]


def test_the_gate_is_the_same_every_time_and_says_what_it_measured_with(
    real: np.ndarray, draw: Draw, extractor: Extractor
) -> None:
    first, second = (gate(real, draw(30, 5, grain=2.0), extractor) for _ in range(2))
    assert np.array_equal(first.kept, second.kept)
    assert first.reasons == second.reasons
    assert extractor.name in first.table()
    assert f"| kept | {len(first.kept)} of 30 |" in first.table()


def test_looser_rules_call_fewer_astray(real: np.ndarray, draw: Draw, extractor: Extractor) -> None:
    fake = draw(40, 6, grain=2.2)
    strict = gate(real, fake, extractor, rules=GateRules(outlier_percentile=80.0))
    loose = gate(real, fake, extractor, rules=GateRules(outlier_percentile=100.0))
    assert strict.count()["outlier"] > loose.count()["outlier"]


def test_mirror_images_are_copies_for_a_generator_that_saw_flips(
    real: np.ndarray, draw: Draw, extractor: Extractor
) -> None:
    turned = real[:20, :, ::-1]
    assert gate(real, turned, extractor).count()["copy"] < 10
    assert gate(real, turned, extractor, rules=GateRules(mirrored=True)).count()["copy"] == 20


def test_a_gate_that_lets_nothing_through_is_no_error(real: np.ndarray, extractor: Extractor) -> None:
    found = gate(real, real[:3], extractor)
    assert found.kept.shape == (0,)
    assert found.count()["copy"] == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"real": slice(0, 5)}, "augmentation alone"),
        ({"scores": np.ones((3, 3))}, "do not belong"),
        ({"label": None}, "do not belong"),
    ],
)
def test_what_the_gate_cannot_judge_is_refused(
    changes: dict[str, object], message: str, real: np.ndarray, extractor: Extractor
) -> None:
    settings = {"real": slice(None), "scores": _sure(60), "label": 1, **changes}
    with pytest.raises(MetricsError, match=message):
        gate(real[settings["real"]], real, extractor, scores=settings["scores"], label=settings["label"])


def test_rules_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(MetricsError, match="copy < outlier"):
        GateRules(copy_percentile=60.0, outlier_percentile=50.0)


def _set(parts: list[np.ndarray]) -> PictureSet:
    pixels = np.concatenate(parts)
    names = tuple(str(n) for n in range(len(pixels)))
    labels = np.repeat(np.arange(len(parts)), [len(p) for p in parts])
    return PictureSet(pixels, labels, ("fine", "coarse"), names, names)


def test_each_class_is_judged_by_its_own_real_pictures(draw: Draw, extractor: Extractor) -> None:
    real = _set([draw(40, 1), draw(40, 2, grain=4.0)])
    swapped = _set([draw(20, 3, grain=4.0), draw(20, 4)])
    right = _set([draw(20, 4), draw(20, 3, grain=4.0)])
    assert len(gate_classes(real, swapped, extractor).kept) < 10
    found = gate_classes(real, right, extractor)
    assert len(found.kept) > 30
    assert len(found.reasons) == 40
    scores = np.eye(2)[np.repeat([0, 1], 20)]
    assert np.array_equal(gate_classes(real, right, extractor, scores=scores).kept, found.kept)


def test_a_class_without_real_pictures_cannot_be_gated(draw: Draw, extractor: Extractor) -> None:
    real = _set([draw(40, 1), draw(40, 2)]).select(np.arange(40))
    with pytest.raises(MetricsError, match="no real picture of coarse"):
        gate_classes(real, _set([draw(2, 3), draw(2, 4)]), extractor)


def test_the_best_share_is_the_one_that_validates_best(tmp_path: Path) -> None:
    tried: list[float] = []

    def validate(share: float) -> list[float]:
        tried.append(share)
        return [0.9 - (share - 0.3) ** 2 + 0.001 * seed for seed in range(3)]

    told: list[float] = []
    curve = best_share(validate, report=lambda share, score: told.append(share))
    assert tuple(tried) == tuple(told) == PAPER_SHARES
    assert curve.best == 0.315
    assert curve.helps
    assert curve.gain.value == pytest.approx(0.09 - 0.015**2)
    draw_shares(curve, tmp_path / "shares.png")
    assert (tmp_path / "shares.png").stat().st_size > 5000


def test_synthetic_pictures_that_do_not_help_are_given_no_share() -> None:
    curve = best_share(lambda share: 0.9 - share, (0.2, 0.0, 0.4))
    assert curve.shares == (0.0, 0.2, 0.4)
    assert curve.best == 0.0
    assert not curve.helps


def test_a_gain_of_one_seed_is_not_called_certain() -> None:
    curve = best_share(lambda share: share, (0.0, 0.4))
    assert curve.best == 0.4
    assert not curve.helps


def test_of_equal_shares_the_smallest_is_best() -> None:
    assert ShareCurve((0.0, 0.1, 0.2), ((0.5,), (0.5,), (0.5,))).best == 0.0


@pytest.mark.parametrize("shares", [(), (0.1, 0.2), (0.0, 1.2)])
def test_shares_are_compared_with_none_at_all(shares: tuple[float, ...]) -> None:
    with pytest.raises(MetricsError, match="0 must be one of them"):
        best_share(lambda share: share, shares)


def test_a_run_that_failed_is_not_taken_for_a_score() -> None:
    with pytest.raises(MetricsError, match="finite"):
        best_share(lambda share: float("nan"), (0.0, 0.2))
