"""From trained generators to pictures (:func:`sample`) and to a data set of them (:func:`synthesise`).

Only finished runs are drawn from: one that diverged or collapsed left no generator. The set says of every
picture which generator drew it, and that no person labelled it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from retraining.adversarial.loop import build_generator, to_pixels
from retraining.adversarial.plan import AdversarialPlan
from retraining.data.dataset import Dataset, Picture, save_dataset
from retraining.data.manifest import file_digest
from retraining.errors import TrainingError
from retraining.runs.folder import close_run, open_run, read_run
from retraining.runs.sheets import side_by_side, tile, write_picture
from retraining.surfaces.reading import read_picture
from retraining.synthesis.gate import KEPT, GateResult

_CHUNK = 32
"""Pictures drawn at once."""
TRIES = 4
"""Largest number of pictures drawn per picture that is wanted, when a gate refuses some."""

Gate = Callable[[NDArray[np.uint8], str], GateResult]
"""Pictures ``(N, S, S, C)`` and the class they were drawn for -> which of them may enter the data set."""
Reporter = Callable[[str, int], None]
"""Called with a class and how many of its pictures are drawn."""


def sample(plan: AdversarialPlan, weights: Path, count: int, seed: int) -> NDArray[np.uint8]:
    """``count`` pictures ``(count, size, size, C)`` of a trained generator; the same ones for the same seed.

    ``weights`` is what :func:`retraining.adversarial.train_pair` returned. Raises :class:`TrainingError`.
    """
    trained, generator = open_generator(weights)
    if (trained.system, trained.size, trained.channels) != (plan.system, plan.size, plan.channels):
        raise TrainingError(
            f"{weights} draws {trained.size} px x {trained.channels} by {trained.system}, but the plan is "
            "for "
            f"{plan.size} px x {plan.channels} by {plan.system}"
        )
    chunks = draw(generator, trained.own_system().latent, seed)
    drawn = [next(chunks) for _ in range(0, count, _CHUNK)]
    empty = np.empty((0, plan.size, plan.size, plan.channels), np.uint8)
    return np.concatenate([empty, *drawn])[:count]


def open_generator(weights: Path) -> tuple[AdversarialPlan, nn.Module]:
    """A trained generator, ready to draw, and the plan it was trained by; raises :class:`TrainingError`."""
    if not weights.is_file():
        raise TrainingError(f"there is no trained generator at {weights}; finish its run first")
    state = torch.load(weights, map_location="cpu", weights_only=True)
    known = {field.name for field in dataclasses.fields(AdversarialPlan)}
    if set(state["plan"]) != known:
        raise TrainingError(f"{weights} was written by another version of this program; train it again")
    plan = AdversarialPlan(**state["plan"])
    generator = build_generator(plan)
    generator.load_state_dict(state["weights"])
    return plan, generator.requires_grad_(False).eval()


def draw(generator: nn.Module, latent: int, seed: int) -> Iterator[NDArray[np.uint8]]:
    """Pictures ``(32, size, size, C)`` of latent vectors drawn from the seed, endlessly.

    Always 32 at once, so that the first ones are the same however many are taken.
    """
    chance, noise = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed + 1)
    while True:
        vectors = torch.randn(_CHUNK, latent, generator=chance)
        with torch.inference_mode(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**62, (), generator=noise)))  # of noise inside a network
            drawn = to_pixels(generator(vectors))
        yield drawn


@dataclass(frozen=True, slots=True)
class TrainedRun:
    """A finished run of ``retrain gan``."""

    folder: Path
    label: str
    """The class it draws."""
    classes: tuple[str, ...]
    """Of the data set it was trained on."""
    digest: str
    """SHA-256 of the generator's file, its first twelve characters."""
    flips: bool
    """Whether it saw mirror images, too."""

    @property
    def weights(self) -> Path:
        """The generator's file."""
        return self.folder / "generator.pt"


def as_drawn(run: TrainedRun, count: int, seed: int) -> NDArray[np.uint8]:
    """The first ``count`` pictures that :func:`synthesise` draws of a run by this seed, gate or no gate."""
    plan, _ = open_generator(run.weights)
    return sample(plan, run.weights, count, _seed_of(seed, run))


def find_runs(paths: Iterable[Path]) -> tuple[TrainedRun, ...]:
    """Finished runs in the given run folders, or in the folders right below them, one a class.

    Raises :class:`TrainingError` when there are none, one is not finished, or two draw the same class.
    """
    folders = [f for p in paths for f in ([p] if (p / "run.json").is_file() else sorted(p.glob("*/")))]
    found = [_finished_run(f) for f in folders if (f / "run.json").is_file()]
    if not found:
        raise TrainingError("there is no run folder; train a generator by `retrain gan` first")
    for run in found:
        if sum(run.label == other.label for other in found) > 1:
            raise TrainingError(f"more than one run draws {run.label}; name only one of them")
        if run.classes != found[0].classes:
            raise TrainingError(
                f"{run.folder} and {found[0].folder} were trained on data sets with different classes; "
                "name runs of one data set"
            )
    return tuple(found)


def _finished_run(folder: Path) -> TrainedRun:
    run = read_run(folder)
    if run["kind"] != "adversarial pair" or run["outcome"] != "finished":
        why = run.get("figures", {}).get("why", "")
        raise TrainingError(
            f"{folder} holds no finished generator, because its run is {run['outcome']}; "
            f"{why or 'finish it first'}"
        )
    label = str(run["about"].get("class", folder.name))
    classes = tuple(run["about"].get("classes", [label]))
    flips = bool(run["plan"].get("flips", False))
    return TrainedRun(folder, label, classes, file_digest(folder / "generator.pt")[:12], flips)


def synthesise(
    runs: Sequence[TrainedRun],
    count: int,
    out: Path,
    seed: int,
    *,
    gate: Gate | None = None,
    report: Reporter = lambda label, drawn: None,
) -> Dataset:
    """Draw ``count`` pictures of each run's class into ``out`` and write their ``dataset.json``.

    Writes ``CLASS/000001.png`` ..., ``sheets/CLASS.png`` (real pictures on the left, drawn ones on the right)
    and ``run.json``. With a ``gate`` up to four times as many are drawn; how many passed, and why others did
    not, stands in the set's notes. The pictures of a generator are one group, for training only. Raises
    :class:`TrainingError`.
    """
    _open_folder(runs, count, out, seed, gated=gate is not None)
    pictures: list[Picture] = []
    notes: list[str] = []
    for run in runs:
        kept, note = _draw_class(run, count, _seed_of(seed, run), gate, report)
        source = f"synthetic:{run.digest}"
        for number, pixels in enumerate(kept, 1):
            path = f"{run.label}/{number:06d}.png"
            write_picture(pixels, out / path)
            digest = file_digest(out / path)
            pictures.append(Picture(path, digest, run.label, source, source, "synthetic", "train"))
        notes.append(note)
        _write_contact_sheet(run, kept, out)
    dataset = Dataset(out, runs[0].classes, tuple(pictures), tuple(notes))
    save_dataset(dataset, out)
    close_run(out, "finished", {"pictures": dataset.count(), "notes": notes})
    return dataset


def _draw_class(
    run: TrainedRun, count: int, seed: int, gate: Gate | None, report: Reporter
) -> tuple[NDArray[np.uint8], str]:
    """Up to ``count`` pictures that passed, and a note of how many were drawn and why others did not pass."""
    plan, generator = open_generator(run.weights)
    chunks = draw(generator, plan.own_system().latent, seed)
    pool = np.empty((0, plan.size, plan.size, plan.channels), np.uint8)
    for tries in (1, 2, TRIES):
        parts = [pool]
        for drawn in range(len(pool), tries * count, _CHUNK):
            parts.append(next(chunks))
            report(run.label, min(drawn + _CHUNK, count))
        pool = np.concatenate(parts)
        if gate is None:
            return pool[:count], f"{run.label}: {count} drawn by {plan.system}, no gate"
        selection = gate(pool, run.label)
        if len(selection.kept) >= count:
            break
    refused = ", ".join(f"{n} {why}" for why, n in selection.count().items() if n and why != KEPT)
    note = f"{run.label}: {min(count, len(selection.kept))} kept of {len(pool)} drawn by {plan.system}"
    if refused:
        note += f"; refused: {refused}"
    if not len(selection.kept):
        raise TrainingError(f"{note}; train the generator longer, or paste real defects instead")
    return pool[selection.kept[:count]], note


def _seed_of(seed: int, run: TrainedRun) -> int:
    """One seed a class: two generators with the same latent vectors would draw look-alikes."""
    return int.from_bytes(hashlib.sha256(f"{seed} {run.label}".encode()).digest()[:6])


def _open_folder(runs: Sequence[TrainedRun], count: int, out: Path, seed: int, *, gated: bool) -> None:
    plan = {"count": count, "seed": seed, "gated": gated, "generators": {r.label: r.digest for r in runs}}
    if out.is_dir() and any(out.iterdir()):
        known = read_run(out) if (out / "run.json").is_file() else {}
        if known.get("kind") != "synthesis" or known.get("plan") != json.loads(json.dumps(plan)):
            raise TrainingError(f"{out} holds something else; name another folder by --out, or remove it")
    open_run(out, "synthesis", plan, {"seed": seed})


def _write_contact_sheet(run: TrainedRun, kept: NDArray[np.uint8], out: Path) -> None:
    drawn = tile(kept[:64], 8)
    real = run.folder / "samples" / "real.png"
    if real.is_file():
        drawn = side_by_side(read_picture(real, kept.shape[3]), drawn)
    write_picture(drawn, out / "sheets" / f"{run.label}.png")
