"""The latent mapping GAN's grid: mapping layers against the size of the latent vector, on one class."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from retraining.experiments.common import (
    Batch,
    PairPlan,
    Pixels,
    Rate,
    Side,
    dataset_notes,
    distance_cells,
    grouped,
    grow,
    measured,
    pair_work,
    sheet_of,
)
from retraining.experiments.plan import Count, Experiment, Name, Section, Seeds, Share, Steps, Text
from retraining.experiments.tasks import Place, TableCell, Task, TaskResult

_HERE = "retraining.experiments.latent_grid"


class Size(Section):
    """How much of it."""

    seeds: Seeds
    """seeds; each has one training per cell of the grid"""
    latents: Annotated[tuple[Count, ...], Field(min_length=1)]
    """sizes of the latent vector"""
    mappings: Annotated[tuple[Annotated[int, Field(ge=0, le=16)], ...], Field(min_length=1)]
    """layers of the mapping network; 0: none"""
    mapping_rate: Rate
    """learning rate of the mapping network, as a share of the generator's"""
    side: Side
    """side of the pictures, px"""
    steps: Steps
    """steps of the generator, the same in every cell"""
    critic_steps: Count
    """steps of the critic per step of the generator"""
    batch: Batch
    """pictures per step"""
    compared: Count
    """real and synthetic pictures that are compared"""


class Plan(Experiment):
    """A grid of latent sizes and mapping layers."""

    kind: Literal["latent-grid"]
    """the kind of experiment"""
    data: Text
    """the folder with one sub-folder of pictures per class, below the data root"""
    class_name: Name
    """the class of the pictures"""
    test_share: Share
    """the share of its pictures that are not trained on, and that all generators are compared with"""
    extractor: Text
    """KIND:PATH of the extractor for FID and KID, the path below the data root"""
    reduced: Size
    """the size for a laptop"""
    full: Size
    """the size for a GPU"""


def tasks(plan: Plan, size: Size) -> tuple[Task, ...]:
    """One split per seed, and for each split one training per cell of the grid."""
    leaves = []
    for seed in size.seeds:
        parameters = {
            "data": plan.data,
            "class_name": plan.class_name,
            "test_share": plan.test_share,
            "extractor": plan.extractor,
            "side": size.side,
            "latents": list(size.latents),
            "compared": size.compared,
            "seed": seed,
        }
        split = Task(f"split/seed-{seed}", f"{_HERE}:split", parameters, work_s=20)
        for layers in size.mappings:
            for latent in size.latents:
                own = {
                    "split": split.name,
                    "layers": layers,
                    "latent": latent,
                    "mapping_rate": size.mapping_rate,
                    "side": size.side,
                    "steps": size.steps,
                    "critic_steps": size.critic_steps,
                    "batch": size.batch,
                    "compared": size.compared,
                    "extractor": plan.extractor,
                    "seed": seed,
                }
                name = f"grid/mapping-{layers}/latent-{latent}/seed-{seed}"
                pair = PairPlan(
                    system="latent-mapping",
                    steps=size.steps,
                    batch=size.batch,
                    critic_steps=size.critic_steps,
                )
                work = pair_work(pair, size.side, 2 * size.compared)
                leaves.append(Task(name, f"{_HERE}:cell", own, (split,), work_s=work))
    return tuple(leaves)


def split(
    place: Place,
    *,
    data: str,
    class_name: str,
    test_share: float,
    extractor: str,
    side: int,
    latents: list[int],
    compared: int,
    seed: int,
) -> TaskResult:
    """The class's pictures on two sides, and how far one side is from the other."""
    from retraining.data.dataset import save_dataset
    from retraining.data.splits import split_by_share

    whole = grouped(place.roots.data_set(data), (class_name,), True)
    dataset = split_by_share(whole, {"train": 1 - test_share, "test": test_share}, seed)
    save_dataset(dataset, place.folder)
    seen, unseen = _pictures(place.folder, side)
    found, notes = measured(place, unseen[:compared], seen[:compared], extractor, seed, "real")
    counted = f"Seed {seed}: {len(seen)} real pictures are learnt from, {compared} others compared with."
    cells = distance_cells(found, "floor", [str(latent) for latent in latents])
    return TaskResult(cells, notes=(*dataset_notes(data, dataset), counted, *notes))


def cell(
    place: Place,
    *,
    split: str,
    layers: int,
    latent: int,
    mapping_rate: float,
    side: int,
    steps: int,
    critic_steps: int,
    batch: int,
    compared: int,
    extractor: str,
    seed: int,
) -> TaskResult:
    """One cell of the grid."""
    from retraining.adversarial.loop import AdversarialPlan
    from retraining.runs.folder import read_run

    seen, unseen = _pictures(place.needs[split], side)
    plan = AdversarialPlan(
        system="latent-mapping",
        size=side,
        latent=latent,
        mapping_layers=layers,
        mapping_rate=mapping_rate,
        critic_steps=critic_steps,
        steps=steps,
        batch=batch,
        seed=seed,
        collapse_below=0.0,
    )
    grown = grow(place, plan, seen, compared)
    if grown.why:
        return TaskResult(notes=(f"{layers} layers, latent {latent}: no pictures, {grown.why}",))
    what = f"{layers} mapping layers, latent {latent}"
    found, notes = measured(
        place, unseen[:compared], grown.pixels, extractor, seed, what, mirrored=plan.flips
    )
    sheet = sheet_of(place, (seen, grown.pixels), f"{what}, seed {seed}: real above, synthetic below")
    cells = distance_cells(found, f"mapping-{layers}", (str(latent),))
    alike = read_run(place.folder / "pair")["figures"].get("w_cosine")
    if alike is not None:
        cells += (TableCell("w-cosine", f"mapping-{layers}", str(latent), alike),)
    return TaskResult(cells, (), (sheet,), notes)


def _pictures(folder: Path, side: int) -> tuple[Pixels, Pixels]:
    """Pictures to learn from, and others to compare with, ``(N, side, side, 1)`` each."""
    from retraining.data.dataset import load_dataset, load_pixels

    dataset = load_dataset(folder)
    return load_pixels(dataset, side, 1, "train").pixels, load_pixels(dataset, side, 1, "test").pixels
