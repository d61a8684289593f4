"""Comparing synthetic with real pictures."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from retraining.errors import MetricsError
from retraining.metrics import (
    Comparison,
    Extractor,
    compare,
    over_seeds,
    t_interval,
    table,
    wilson,
)
from retraining.metrics.degradation import DEGRADATIONS, degrade, draw_grades, grade_extractor
from retraining.metrics.distances import fid, inception_score, kid
from retraining.metrics.neighbours import manifolds, nearest_real

Draw = Callable[..., np.ndarray]


def test_more_real_pictures_pass_for_real_and_another_texture_does_not(
    real: np.ndarray, draw: Draw, extractor: Extractor
) -> None:
    same = compare(real, draw(60, 2), extractor)
    other = compare(real, draw(60, 3, grain=4.0), extractor)
    assert abs(same.kid) < 3 * same.kid_std
    assert other.kid > 10 * abs(same.kid) + 5 * other.kid_std
    assert same.fid < 0.2 * other.fid
    assert same.fid_at_floor == pytest.approx(same.floor_fid, rel=0.6)
    assert same.coverage > 0.8 > 0.3 > other.coverage
    assert not same.memorised
    assert not same.collapsed


def test_fid_of_a_set_and_itself_is_nothing(real: np.ndarray, extractor: Extractor) -> None:
    figures = compare(real, real, extractor)
    assert figures.fid < 1e-6 * compare(real, 255 - real, extractor).fid
    assert abs(figures.kid) < 3 * figures.kid_std
    assert figures.precision == figures.recall == figures.coverage == 1.0


@pytest.mark.parametrize("kind", DEGRADATIONS)
def test_fid_and_kid_rise_with_every_grade_of_distortion(
    kind: str, real: np.ndarray, extractor: Extractor
) -> None:
    features = extractor(real)
    spoilt = [extractor(degrade(real, kind, grade)) for grade in DEGRADATIONS[kind].grades]
    fids = [fid(features, s) for s in spoilt]
    kids = [kid(features, s, 0)[0] for s in spoilt]
    assert fids == sorted(fids)
    assert kids == sorted(kids)
    assert fids[-1] > 3 * fids[0] > 0


def test_the_curve_of_spoilt_pictures_is_drawn(tmp_path: Path, draw: Draw, extractor: Extractor) -> None:
    found = grade_extractor(draw(48, 4), extractor)
    draw_grades(found, tmp_path / "grades.png")
    assert (tmp_path / "grades.png").stat().st_size > 5000
    assert len(found) == sum(len(d.grades) + 1 for d in DEGRADATIONS.values())


def test_an_unknown_distortion_is_refused_with_those_there_are(real: np.ndarray) -> None:
    with pytest.raises(MetricsError, match="blur"):
        degrade(real, "rust", 1.0)


def test_figures_do_not_depend_on_the_order_of_the_pictures(
    real: np.ndarray, draw: Draw, extractor: Extractor
) -> None:
    fake = draw(40, 7)
    rng = np.random.default_rng(0)
    shuffled = compare(real[rng.permutation(60)], fake[rng.permutation(40)], extractor, seed=3)
    assert shuffled == compare(real, fake, extractor, seed=3)


def test_a_comparison_leaves_the_random_state_of_torch_alone(real: np.ndarray, extractor: Extractor) -> None:
    before = torch.random.get_rng_state()
    compare(real, real, extractor)
    assert torch.equal(before, torch.random.get_rng_state())


def test_copies_with_a_little_noise_are_flagged_as_memorised(
    real: np.ndarray, draw: Draw, extractor: Extractor
) -> None:
    rng = np.random.default_rng(0)
    copies = np.clip(real[:30] + rng.integers(-1, 2, real[:30].shape), 0, 255).astype(np.uint8)
    half = compare(real, np.concatenate([copies, draw(30, 8)]), extractor)
    assert half.memorised
    assert half.copies == pytest.approx(0.5, abs=0.1)
    assert compare(real, real, extractor).copies == 1.0


def test_mirrored_copies_are_found_when_asked_for(real: np.ndarray, draw: Draw, extractor: Extractor) -> None:
    turned = real[:30, ::-1]
    assert not compare(real, turned, extractor).memorised
    assert compare(real, turned, extractor, mirrored=True).copies == 1.0
    assert not compare(real, draw(60, 12), extractor, mirrored=True).memorised


def test_pictures_of_two_sizes_are_not_compared(real: np.ndarray, extractor: Extractor) -> None:
    with pytest.raises(MetricsError, match="differ in size"):
        compare(real, real[:, :16, :16], extractor)


def test_copies_are_flagged_even_when_the_real_set_holds_duplicates(
    real: np.ndarray, draw: Draw, extractor: Extractor
) -> None:
    doubled = np.concatenate([real, real[:10]])
    assert compare(doubled, real[:20], extractor).copies == 1.0
    assert not compare(doubled, draw(60, 9), extractor).memorised


def test_one_picture_many_times_over_is_compared_without_a_crash(
    real: np.ndarray, extractor: Extractor
) -> None:
    same = np.repeat(real[:1], 20, axis=0)
    assert compare(same, same, extractor).memorised
    assert compare(same, real, extractor).copies < 0.1
    assert compare(real, same, extractor).collapsed


def test_few_pictures_drawn_again_and_again_are_a_collapse(
    real: np.ndarray, draw: Draw, extractor: Extractor
) -> None:
    figures = compare(real, np.repeat(draw(4, 11), 15, axis=0), extractor)
    assert figures.collapsed
    assert figures.repeats == 1.0
    assert figures.recall < 0.3


@pytest.mark.parametrize(("side", "remedy"), [("real", "gather more"), ("fake", "draw more")])
def test_too_few_pictures_are_refused_with_the_remedy(
    side: str, remedy: str, real: np.ndarray, extractor: Extractor
) -> None:
    pair = {"real": real, "fake": real} | {side: real[:11]}
    with pytest.raises(MetricsError, match=f"11 .*12 are needed; {remedy}"):
        compare(pair["real"], pair["fake"], extractor)


def test_the_fewest_pictures_allowed_give_every_figure(real: np.ndarray, extractor: Extractor) -> None:
    figures = compare(real[:12], real[12:24], extractor)
    assert np.isfinite([figures.fid, figures.kid, figures.floor_fid, figures.floor_kid]).all()


def test_pictures_of_the_wrong_kind_are_refused(real: np.ndarray, extractor: Extractor) -> None:
    with pytest.raises(MetricsError, match="uint8"):
        compare(real.astype(np.float32), real, extractor)
    with pytest.raises(MetricsError, match=r"\(N, H, W, 1 or 3\)"):
        compare(real[..., 0], real, extractor)


def test_the_inception_score_comes_with_a_classifier(real: np.ndarray, extractor: Extractor) -> None:
    score = compare(real, real, extractor).inception_score
    assert score is not None
    assert 1.0 <= score <= 3.0


def test_the_inception_score_is_the_number_of_classes_at_best_and_one_at_worst() -> None:
    assert inception_score(np.eye(4)[np.arange(40) % 4]) == pytest.approx(4.0)
    assert inception_score(np.full((40, 4), 0.25)) == pytest.approx(1.0)
    assert inception_score(np.eye(4)[np.zeros(40, int)]) == pytest.approx(1.0)


def test_fid_of_two_normal_clouds_is_what_the_formula_says() -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal((4000, 3))
    b = 2.0 * rng.standard_normal((4000, 3)) + np.array([1.0, 0.0, 0.0])
    assert fid(a, b) == pytest.approx(1.0 + 3 * (1 + 4 - 2 * 2), rel=0.1)


def test_fid_of_few_pictures_in_many_dimensions_is_the_same_as_in_their_span() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((20, 300)), rng.standard_normal((25, 300)) + 0.2
    x, y = (v - v.mean(0) for v in (a, b))
    cross = np.linalg.svd(x @ y.T / np.sqrt(19 * 24), compute_uv=False).sum()
    expected = np.square(a.mean(0) - b.mean(0)).sum() + (x**2).sum() / 19 + (y**2).sum() / 24 - 2 * cross
    assert fid(a, b) == pytest.approx(expected, rel=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 10.0), st.integers(13, 40))
def test_shares_of_neighbours_do_not_care_for_scale_place_or_rotation(
    seed: int, scale: float, count: int
) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((count, 6)), rng.standard_normal((count, 6)) * 1.5
    turn = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    moved = [scale * v @ turn + 3.0 for v in (a, b)]
    here, there = manifolds(a, b), manifolds(*moved)
    assert (here.precision, here.recall, here.coverage) == (there.precision, there.recall, there.coverage)
    assert nearest_real(a, b).ratio == pytest.approx(nearest_real(*moved).ratio)


def test_precision_falls_for_fakes_far_off_and_recall_for_missing_kinds() -> None:
    rng = np.random.default_rng(0)
    real = np.concatenate([rng.standard_normal((60, 4)), rng.standard_normal((60, 4)) + 30])
    one_kind = rng.standard_normal((120, 4))
    found = manifolds(real, one_kind)
    assert found.precision > 0.9
    assert found.recall < 0.6
    assert found.coverage < 0.6
    assert manifolds(real, one_kind + 1000).precision == 0.0


def test_figures_of_two_extractors_are_never_put_in_one_table(
    real: np.ndarray, extractor: Extractor, other_engine: Extractor
) -> None:
    figures = [compare(real, real, e) for e in (extractor, other_engine)]
    assert figures[0].extractor != figures[1].extractor
    with pytest.raises(MetricsError, match="one extractor"):
        table(*figures)
    with pytest.raises(MetricsError, match="one extractor"):
        over_seeds(figures, "fid")


def test_the_table_names_counts_extractor_and_floor(
    real: np.ndarray, draw: Draw, extractor: Extractor
) -> None:
    text = table(compare(real, draw(30, 5), extractor, name="DCGAN"))
    assert "| DCGAN | 60 : 30 |" in text
    assert "real, half against half | 30 : 30" in text
    assert extractor.name in text
    assert "KID leads" in text
    assert text.splitlines()[0].split("|")[3].strip() == "KID"
    assert "DCGAN" in table(compare(real, real, extractor, name="DCGAN"), markdown=False)


def test_fid_leads_only_from_2048_pictures_on(real: np.ndarray, extractor: Extractor) -> None:
    figures = compare(real, real, extractor)
    assert figures.headline == "kid"
    assert replace(figures, n_real=2048, n_fake=2047).headline == "kid"
    large = replace(figures, n_real=2048, n_fake=2048)
    assert large.headline == "fid"
    assert "FID leads" in table(large)


def _of_seed(figures: Comparison, value: float) -> Comparison:
    return replace(figures, kid=value)


def test_seeds_of_one_thing_become_a_mean_with_its_interval(real: np.ndarray, extractor: Extractor) -> None:
    one = compare(real, real, extractor, name="DCGAN")
    seeds = [_of_seed(one, value) for value in (1.0, 2.0, 3.0)]
    found = over_seeds(seeds, "kid")
    assert (found.value, found.n) == (2.0, 3)
    assert found.high - 2.0 == pytest.approx(4.303 / 3**0.5, rel=1e-3)
    assert "2 [-0.484, 4.48]" in table(*seeds)
    with pytest.raises(MetricsError, match="does not measure"):
        over_seeds(seeds, "lpips")
    with pytest.raises(MetricsError, match="give the seeds of one"):
        over_seeds([one, replace(one, name="LSGAN")], "kid")


def test_a_single_seed_has_no_interval_to_speak_of() -> None:
    assert t_interval([3.0]).low == -np.inf
    with pytest.raises(MetricsError):
        t_interval([])
    with pytest.raises(MetricsError, match="failed"):
        t_interval([1.0, float("nan")])


def test_wilson_intervals_are_those_of_the_textbook() -> None:
    none, some = wilson(0, 10), wilson(81, 263)
    assert (none.low, none.high) == (0.0, pytest.approx(0.2775, abs=1e-4))
    assert (some.low, some.high) == (pytest.approx(0.2553, abs=1e-4), pytest.approx(0.3662, abs=1e-4))
    with pytest.raises(MetricsError):
        wilson(3, 2)


def test_only_shares_have_a_wilson_interval(real: np.ndarray, extractor: Extractor) -> None:
    figures = compare(real, real, extractor)
    assert figures.interval("recall").high == 1.0
    with pytest.raises(MetricsError, match="precision"):
        figures.interval("fid")
