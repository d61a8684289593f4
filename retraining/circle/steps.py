"""The way out: the first engine, the bad lot, labels, pasted parts, the next engine, and their comparison."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from deploy.scoring import onnx_novelty, onnx_scorer
from drivers.sorters.interface import Outcome
from retraining.circle.commands import RETRAIN, STATION, StepError, call
from retraining.circle.line import Line, as_json
from retraining.circle.lots import Lot, rendered_lot
from retraining.circle.person import label_all
from retraining.circle.plan import PRODUCT, Plan
from retraining.data.kept_parts import kept_parts
from retraining.data.manifest import load_dataset
from retraining.product.parts import read_parts
from station.decision import decide
from station.engines.folder import load_manifest
from station.files import write_file
from station.patching import Region, cut_region
from station.pictures.drawing import draw_sheet, draw_tile, view_of_surface
from station.pictures.saving import write_drawn
from station.recipe import load_recipe

SHOWN = 8
"""Parts on a sheet."""
SPLIT = ("--train", 0.6, "--validation", 0.15, "--test", 0.25)


def write_recipes(plan: Plan) -> None:
    """The recipe of the first day, without the unknown class, and the whole one, both of one name."""
    for which, left_out in (("first", plan.unknown), ("next", None)):
        document = yaml.safe_load(plan.recipe.read_text(encoding="utf-8"))
        document |= {"name": PRODUCT, "engine": PRODUCT}
        kept = {document["classes"][0]["name"], plan.unknown, *plan.known} - {left_out}
        document["classes"] = [one for one in document["classes"] if one["name"] in kept]
        file = plan.recipe_of(which)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_file(file, yaml.safe_dump(document, sort_keys=False))


def render_known(plan: Plan) -> int:
    """The pictures that the first engine is trained on; how many."""
    return _render(plan, "known", plan.known_parts, plan.known_seed, plan.unknown)


def render_unseen(plan: Plan) -> int:
    """Parts of every class, of one kind each, that no training has seen; how many."""
    return _render(plan, "unseen", plan.test_parts, plan.test_seed)


def _render(plan: Plan, name: str, parts: int, seed: int, *without: str) -> int:
    every = {entry.name for entry in load_recipe(plan.recipe).classes[1:]}
    left_out = sorted(every - {plan.unknown, *plan.known} | {*without})
    call(
        RETRAIN, "data", "from-rendered", "--whole", "--one-kind", *_each("--without", left_out), "--parts",
        parts, "--seed", seed, "-r", plan.recipe, "--processes", plan.processes, "--out", plan.data / name,
        log=plan.log,
    )  # fmt: skip
    return len(load_dataset(plan.data / name))


def _each(option: str, values: list[str]) -> list[str]:
    return [word for value in values for word in (option, value)]


def take_first(plan: Plan) -> str:
    """Put the first engine in place that was made before; what its card says first."""
    assert plan.first is not None
    shutil.copytree(plan.first, plan.out / "runs" / "first", dirs_exist_ok=True)
    return (plan.engine_of("first") / "card.md").read_text(encoding="utf-8").splitlines()[0]


def train(plan: Plan, which: str, data: Path, *more: object) -> str:
    """An engine of a data set, with the recipe ``first``, or else with every class; what its test says."""
    recipe = plan.recipe_of("first" if which == "first" else "next")
    start = ("--weights", plan.engine_of("first")) if plan.from_first and which != "first" else ()
    return call(
        RETRAIN, "product", data, "-r", recipe, "--network", plan.network, *start, "--batch", plan.batch,
        "--steps", plan.steps, "--precision", plan.precision, "--threads", plan.threads,
        "--out", plan.out / "runs" / which, *more, log=plan.log,
    )  # fmt: skip


def bad_lot(plan: Plan) -> Lot:
    """Good parts and parts with one defect of the unknown class."""
    return rendered_lot(
        plan.out / "lots" / "bad", load_recipe(plan.recipe_of("next")), frames=plan.lot_parts,
        seed=plan.known_seed + 2, good_share=plan.lot_good, kinds=(plan.unknown,),
        processes=plan.processes, margin_px=plan.frame_margin_px,
    )  # fmt: skip


KEEP_ALL = {"class_items": 100_000, "same_below": 0.0, "audit_good": 1.0, "audit_bad": 1.0}
"""Settings of a log of rare parts that keeps every part, whatever the engine makes of it."""


def inspect_lot(plan: Plan, name: str = "bad", rare: Mapping[str, float] | None = None) -> dict[str, Any]:
    """The bad lot on the line ``name`` with the first engine; what it keeps is handed over and received.

    ``rare``: settings of its log of rare parts, where they are not the usual ones. Received parts lie in
    ``received`` of the line's folder. Raises :class:`StepError` unless everything that was kept arrived.
    """
    line = Line(plan.out / "lines" / name, bad_lot(plan))
    line.clear()
    target, received, keys = (line.folder / what for what in ("handoff", "received", "stations"))
    for folder in (target, keys):
        folder.mkdir(parents=True, exist_ok=True)
    line.write_config(
        recipe=PRODUCT, recipes=plan.tuned_of("first").parent, engines=plan.engine_of("first").parent,
        target=target, rate_hz=plan.rate_hz, rare={"same_below": plan.same_below, **(rare or {})},
    )  # fmt: skip
    call(RETRAIN, "receive", target, "--out", received, "--prepare", log=plan.log)
    own_key = (received / "keys" / "workshop.pub").read_text(encoding="utf-8")
    write_file(line.folder / "workshops" / "workshop.pub", own_key)
    line.run(len(line.lot.parts), plan.log)
    call(STATION, "keys", "show", "--config", line.config, "--out", keys / "line.pub", log=plan.log)
    call(STATION, "handoff", "--config", line.config, "--now", log=plan.log, codes=(0, 1))  # no receipt yet
    call(RETRAIN, "receive", target, "--keys", keys, "--out", received, log=plan.log)
    call(STATION, "handoff", "--config", line.config, "--now", log=plan.log)
    seen = line.seen()
    write_file(line.folder / "parts.jsonl", as_json(seen))
    strange = [part for part in seen if part.truth.label == plan.unknown]
    kept, arrived = sum(bool(part.kept) for part in seen), len(kept_parts(received))
    if arrived != kept or not arrived:
        raise StepError(f"{arrived} parts arrived of {kept} that line {name} kept")
    return {
        "parts": len(seen), "answered": line.answered(plan.log), plan.unknown: len(strange),
        f"{plan.unknown} rejected under any name": sum(part.outcome == "reject" for part in strange),
        f"{plan.unknown} kept for the workshop": sum(bool(part.kept) for part in strange),
        "kept, handed over and received": arrived,
    }  # fmt: skip


def gather(plan: Plan, line: str = "bad", split: str = "split", drawn: int = 0) -> dict[str, int]:
    """Label what arrived from ``line``, and make one split data set of it and of the known parts; the labels.

    ``drawn``: label only so many parts, drawn at random.
    """
    received, made = plan.out / "lines" / line / "received", plan.data / f"{split}-received"
    counts = label_all(received, bad_lot(plan), drawn)
    recipe = load_recipe(plan.recipe_of("next"))
    classes = ",".join(entry.name for entry in recipe.classes if entry.name in counts)
    call(RETRAIN, "data", "from-received", received, "--classes", classes, "--out", made, log=plan.log)
    joined = plan.data / f"{split}-joined"
    call(
        RETRAIN, "data", "join", plan.data / "known", made, "--good", recipe.classes[0].name, "--out", joined,
        log=plan.log,
    )  # fmt: skip
    call(RETRAIN, "data", "split", joined, *SPLIT, "--out", plan.data / split, log=plan.log)
    return counts


def synthesise(plan: Plan, split: str = "split", made: str = "pasted") -> int:
    """Paste the unknown class onto good parts of the data set ``split``; how many parts were made."""
    call(
        RETRAIN, "paste", plan.data / split, "--whole", "--class", plan.unknown, "--count", plan.pasted,
        "--out", plan.data / made, log=plan.log,
    )  # fmt: skip
    return len(load_dataset(plan.data / made))


ESCAPED, NAMED_OTHERWISE, NAMED = "accepted", "rejected under another name", "rejected as what it is"


@dataclass(frozen=True, slots=True)
class Shares:
    """What an engine makes of unseen parts."""

    unknown: dict[str, int]
    """Of the parts with the class in question: how many were accepted, named otherwise, named rightly."""
    surfaced: int
    """Of these: rejected under any name, or far from training."""
    good: int
    overkill: int
    others: int
    other_escapes: int


def compare(plan: Plan, which: str) -> dict[str, Any]:
    """What the engine of a training makes of the unseen parts, by the station's own decision.

    The first parts with the class in question are drawn, with their verdicts, into ``<which>.png``.
    """
    tuned, engine = load_recipe(plan.tuned_of(which)), plan.engine_of(which)
    unseen = read_parts(load_dataset(plan.data / "unseen"), load_recipe(plan.recipe_of("next"))).surfaces
    model = engine / ("model.int8.onnx" if (engine / "model.int8.onnx").is_file() else "model.onnx")
    score = onnx_scorer(model)
    novelty = None if load_manifest(engine, PRODUCT).novelty is None else onnx_novelty(model)
    height, width = unseen.pixels.shape[1:3]
    counts = dict.fromkeys((ESCAPED, NAMED_OTHERWISE, NAMED), 0)
    surfaced = good = overkill = others = other_escapes = 0
    tiles: list[NDArray[np.uint8]] = []
    for index, pixels in enumerate(unseen.pixels):
        patches = cut_region(pixels[..., 0], Region(0, 0, width, height), tuned)
        scores = score(patches.pixels)
        verdict = decide(scores, tuned)
        accepted = verdict.outcome is Outcome.ACCEPT
        on_it = {unseen.classes[k] for k in unseen.part_classes(index)}
        if plan.unknown in on_it:
            named = verdict.class_name == plan.unknown
            counts[ESCAPED if accepted else NAMED if named else NAMED_OTHERWISE] += 1
            is_far = novelty is not None and bool((novelty(patches.pixels) > 1).any())
            surfaced += not accepted or is_far
            if len(tiles) < SHOWN:
                classes = tuple(entry.name for entry in tuned.classes)
                tiles.append(draw_tile(view_of_surface(f"part {index}", verdict, patches, scores, classes)))
        elif on_it == {unseen.classes[0]}:
            good, overkill = good + 1, overkill + (not accepted)
        else:
            others, other_escapes = others + 1, other_escapes + accepted
    write_drawn(plan.out / f"{which}.png", draw_sheet(tiles, f"unseen parts with {plan.unknown}"))
    return asdict(Shares(counts, surfaced, good, overkill, others, other_escapes))
