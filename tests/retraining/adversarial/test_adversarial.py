"""The training loop of adversarial pairs: learning, resume, stopping, what it refuses to hand out."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from retraining.adversarial.loop import SYSTEMS, AdversarialPlan, build_pair, train_pair
from retraining.errors import CollapseError, DivergedError, TrainingError, TrainingStoppedError
from retraining.runs.distributed import World
from retraining.synthesis.sampling import sample

PLAN = AdversarialPlan(
    system="gan",
    size=32,
    steps=4,
    batch=4,
    precision="fp32",
    checkpoint_every=2,
    check_every=2,
    sheet_every=2,
)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """Twelve bright grey pictures with a dark spot somewhere, uint8 (12, 32, 32, 1)."""
    rng = np.random.default_rng(5)
    made = rng.normal(200, 8, (12, 32, 32)).clip(0, 255).astype(np.uint8)
    for picture in made:
        x, y = (int(v) for v in rng.integers(6, 26, 2))
        cv2.circle(picture, (x, y), 5, 40, -1)
    return made[..., None]


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["weights"]
    return state


@pytest.mark.parametrize("system", sorted(set(SYSTEMS) - {"stylegan2"}))
def test_every_system_trains_and_draws(system: str, pictures: np.ndarray, tmp_path: Path) -> None:
    plan = replace(PLAN, system=system, steps=1, precision="bf16")
    drawn = sample(plan, train_pair(plan, pictures, tmp_path), 3, seed=1)
    assert drawn.shape == (3, 32, 32, 1)
    assert drawn.dtype == np.uint8
    assert len({p.tobytes() for p in drawn}) == 3
    log = (tmp_path / "log.csv").read_text().splitlines()
    penalty = float(log[1].split(",")[3])
    assert (penalty > 0) == (SYSTEMS[system].penalty > 0 or SYSTEMS[system].style is not None)


def test_generated_pictures_become_as_bright_as_the_real_ones(pictures: np.ndarray, tmp_path: Path) -> None:
    plan = replace(PLAN, steps=60, batch=8, ema=0.9, checkpoint_every=100, check_every=100, sheet_every=100)
    drawn = sample(plan, train_pair(plan, pictures, tmp_path), 16, seed=1)
    assert abs(float(drawn.mean()) - float(pictures.mean())) < 35, "a fresh generator is about 60 darker"


@pytest.mark.parametrize("system", ["dcgan", "latent-mapping", "stylegan2-small"])
def test_a_resumed_run_ends_with_the_same_weights(system: str, pictures: np.ndarray, tmp_path: Path) -> None:
    plan = replace(PLAN, system=system, diffaugment="mild")
    through = train_pair(plan, pictures, tmp_path / "through")

    def pull_the_plug(step: int, line: str) -> None:
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_pair(plan, pictures, tmp_path / "halves", report=pull_the_plug)
    assert not (tmp_path / "halves" / "generator.pt").exists()
    halves = train_pair(plan, pictures, tmp_path / "halves")
    for name, value in weights_of(through).items():
        assert torch.equal(value, weights_of(halves)[name]), name
    one, other = (torch.load(p.parent / "checkpoint.pt", weights_only=True) for p in (through, halves))
    for name, value in one["critic"].items():
        assert torch.equal(value, other["critic"][name]), name
    steps = [line.split(",")[0] for line in (tmp_path / "halves" / "log.csv").read_text().splitlines()]
    assert steps == ["step", "1", "2", "3", "4"]
    sessions = json.loads((tmp_path / "halves" / "run.json").read_text())["sessions"]
    assert [s["first_step"] for s in sessions] == [0, 2]


def test_a_finished_run_can_be_prolonged(pictures: np.ndarray, tmp_path: Path) -> None:
    train_pair(replace(PLAN, steps=2), pictures, tmp_path / "prolonged")
    prolonged = weights_of(train_pair(PLAN, pictures, tmp_path / "prolonged"))
    for name, value in weights_of(train_pair(PLAN, pictures, tmp_path / "through")).items():
        assert torch.equal(value, prolonged[name]), name


def test_sigterm_leaves_a_checkpoint_and_says_so(pictures: np.ndarray, tmp_path: Path) -> None:
    def terminate(step: int, line: str) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(TrainingStoppedError, match="stopped at step 2"):
        train_pair(replace(PLAN, checkpoint_every=100), pictures, tmp_path, report=terminate)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 2
    assert json.loads((tmp_path / "run.json").read_text())["outcome"] == "stopped"


def test_a_checkpoint_of_another_plan_is_refused_and_can_be_started_over(
    pictures: np.ndarray, tmp_path: Path
) -> None:
    train_pair(replace(PLAN, steps=1), pictures, tmp_path)
    other = replace(PLAN, steps=1, seed=2)
    with pytest.raises(TrainingError, match="another plan"):
        train_pair(other, pictures, tmp_path)
    train_pair(other, pictures, tmp_path, resume=False)
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 2


def test_losses_that_are_no_numbers_end_the_run_without_weights(pictures: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="lower the learning rate"):
        train_pair(replace(PLAN, learning_rate=1e30), pictures, tmp_path)
    assert not (tmp_path / "generator.pt").exists()
    assert json.loads((tmp_path / "run.json").read_text())["outcome"] == "diverged"


def test_a_generator_that_draws_one_picture_again_and_again_is_not_handed_out(
    pictures: np.ndarray, tmp_path: Path
) -> None:
    plan = replace(PLAN, steps=40, collapse_below=10.0, collapse_after=10, check_every=5)
    with pytest.raises(CollapseError, match=r"step 35 differ by \d.* of what real ones differ by"):
        train_pair(replace(plan, sheet_every=100, checkpoint_every=100), pictures, tmp_path)
    assert not (tmp_path / "generator.pt").exists()
    run = json.loads((tmp_path / "run.json").read_text())
    assert run["outcome"] == "collapsed"
    assert "step 35" in run["figures"]["why"]


def test_a_run_leaves_sheets_of_the_same_latents_curves_and_its_history(
    pictures: np.ndarray, tmp_path: Path
) -> None:
    lines: list[str] = []
    train_pair(
        PLAN, pictures, tmp_path, about={"class": "spot"}, report=lambda step, line: lines.append(line)
    )
    sheets = sorted(p.name for p in (tmp_path / "samples").iterdir())
    assert sheets == ["000002.png", "000004.png", "real.png"]
    sheet = cv2.imread(str(tmp_path / "samples" / "000004.png"), cv2.IMREAD_GRAYSCALE)
    assert sheet.shape == (8 * 34 - 2, 8 * 34 - 2)
    assert (tmp_path / "curves.png").stat().st_size > 1000
    assert len(lines) == 4
    assert "s per step" in lines[0]
    run = json.loads((tmp_path / "run.json").read_text())
    assert run["outcome"] == "finished"
    assert run["plan"]["system"] == "gan"
    assert run["about"] == {"real_pictures": 12, "class": "spot"}
    assert run["versions"]["torch"] == torch.__version__
    assert run["figures"]["diversity"] > 0


def test_two_pictures_are_enough_and_one_is_not(pictures: np.ndarray, tmp_path: Path) -> None:
    train_pair(replace(PLAN, steps=1), pictures[:2], tmp_path / "two")
    with pytest.raises(TrainingError, match="two different ones"):
        train_pair(PLAN, pictures[:1], tmp_path / "one")
    with pytest.raises(TrainingError, match="two different ones"):
        train_pair(PLAN, pictures[[0, 0, 0]], tmp_path / "same")


def test_pictures_of_another_size_or_kind_are_refused(pictures: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"uint8 \(N, 64, 64, 1\)"):
        train_pair(replace(PLAN, size=64), pictures, tmp_path)
    with pytest.raises(TrainingError, match="float32"):
        train_pair(PLAN, pictures.astype(np.float32), tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"system": "stylegan"}, "choose one of gan, dcgan"),
        ({"size": 48}, "32, 64, 128, 256 px"),
        ({"channels": 4}, "1 or 3 channels"),
        ({"mapping_layers": 2}, "no mapping network"),
        ({"mapping_rate": 0.01}, "no mapping network"),
        ({"system": "latent-mapping", "mapping_rate": 0.0}, "above 0 and at most 1"),
        ({"optimiser": "sgd"}, "adam or rmsprop, not 'sgd'"),
        ({"diffaugment": "strong"}, "none, paper or mild, not 'strong'"),
        ({"latent": 0}, "latent and critic steps must be 1 or more"),
        ({"learning_rate": 0.0}, "learning rate above 0"),
        ({"ema": 1.0}, "ema from 0 to below 1"),
        ({"precision": "fp16"}, "auto, fp32 or bf16"),
        ({"sheet_every": 0}, "must be 1 or more"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        replace(PLAN, **changes)


def test_without_averaging_the_last_generator_is_handed_out(pictures: np.ndarray, tmp_path: Path) -> None:
    weights = weights_of(train_pair(replace(PLAN, ema=0.0), pictures, tmp_path))
    last = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["generator"]
    for name, value in last.items():
        assert torch.equal(value, weights[name]), name


def learning_rates(plan: AdversarialPlan) -> set[float]:
    pair = build_pair(plan, torch.device("cpu"))
    return {group["lr"] for group in pair.generator_optimiser.param_groups}


def test_the_mapping_network_learns_at_the_full_rate_unless_another_share_is_asked_for() -> None:
    plan = replace(PLAN, system="latent-mapping", learning_rate=1e-3)
    assert learning_rates(plan) == {1e-3}
    assert learning_rates(replace(plan, mapping_rate=0.01)) == {1e-3, 1e-5}
    pair = build_pair(plan, torch.device("cpu"))
    before = [layer.weight.detach().clone() for layer in pair.generator.mapping]
    pair.generator(torch.randn(4, 50)).square().mean().backward()
    pair.generator_optimiser.step()
    for layer, old in zip(pair.generator.mapping, before, strict=True):
        assert (layer.weight.detach() - old).abs().max() > 1e-3


@pytest.mark.parametrize("system", sorted(set(SYSTEMS) - {"stylegan2"}))
def test_every_system_can_be_trained_by_either_optimiser(system: str) -> None:
    for name, kind in (("adam", torch.optim.Adam), ("rmsprop", torch.optim.RMSprop)):
        pair = build_pair(replace(PLAN, system=system, optimiser=name), torch.device("cpu"))
        assert type(pair.generator_optimiser) is type(pair.critic_optimiser) is kind


def test_the_spread_of_w_is_watched_where_there_is_a_mapping_network(
    pictures: np.ndarray, tmp_path: Path
) -> None:
    train_pair(replace(PLAN, system="latent-mapping", steps=2), pictures, tmp_path / "mapped")
    header, *rows = (tmp_path / "mapped" / "log.csv").read_text().splitlines()
    at = header.split(",").index("w_cosine")
    assert 0 < float(rows[-1].split(",")[at]) < 1
    assert 0 < json.loads((tmp_path / "mapped" / "run.json").read_text())["figures"]["w_cosine"] < 1
    train_pair(replace(PLAN, steps=1), pictures, tmp_path / "plain")
    assert "w_cosine" not in json.loads((tmp_path / "plain" / "run.json").read_text())["figures"]


def test_a_run_goes_on_in_the_arithmetic_that_it_began_with(pictures: np.ndarray, tmp_path: Path) -> None:
    train_pair(replace(PLAN, steps=2, precision="auto"), pictures, tmp_path)
    path = tmp_path / "checkpoint.pt"
    state = torch.load(path, weights_only=True)
    other = not state["bf16"]
    torch.save({**state, "bf16": other}, path)
    train_pair(replace(PLAN, steps=3, precision="auto"), pictures, tmp_path)
    told = json.loads((tmp_path / "run.json").read_text())["figures"]["precision"]
    assert told == ("bf16" if other else "fp32")


def test_stylegan2s_path_lengths_are_drawn_towards_their_mean_from_128_px_on() -> None:
    plan = replace(PLAN, system="stylegan2-small", size=128, batch=2)
    style = plan.own_system().style
    assert style is not None
    cpu = torch.device("cpu")
    pair = build_pair(plan, cpu)
    pair.even_out_paths(style, torch.randn(2, 256), World(), cpu)
    assert pair.path_mean > 0
    assert all(layer.weight.grad is not None for layer in pair.generator.mapping)
    assert {group["betas"] for group in pair.generator_optimiser.param_groups} == {(0.0, 0.99 ** (4 / 5))}
    assert {group["betas"] for group in pair.critic_optimiser.param_groups} == {(0.0, 0.99 ** (16 / 17))}


def test_a_seed_draws_the_same_pictures_of_a_generator_that_adds_noise(
    pictures: np.ndarray, tmp_path: Path
) -> None:
    plan = replace(PLAN, system="stylegan2-small", steps=1)
    weights = train_pair(plan, pictures, tmp_path)
    drawn = sample(plan, weights, 3, seed=5)
    torch.manual_seed(99)
    assert np.array_equal(drawn, sample(plan, weights, 3, seed=5))
    assert not np.array_equal(drawn, sample(plan, weights, 3, seed=6))
