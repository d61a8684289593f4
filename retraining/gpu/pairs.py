"""GANs and translators at the size of a GPU: trained, and compared with pictures that they never saw."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from retraining.errors import CollapseError, DivergedError
from retraining.gpu.package import Pool
from retraining.gpu.plan import KINDS, Size
from retraining.metrics import compare, open_extractor
from retraining.metrics.features import Pixels

Report = Callable[[int, str], None]
KID_SCALE = 1000.0
_SEED = 81


def pair_figures(
    pool: Pool, size: Size, folder: Path, device: str, report: Report, *, system: str, kind: str, steps: int,
    side: int = 0, latent: int | None = None, mapping_layers: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """A pair trained on one kind of defect, and its pictures beside as many real ones that it never saw.

    Goes on from its checkpoint in ``folder``. Raises ``TrainingStoppedError`` after a checkpoint.
    """
    from retraining.adversarial.loop import train_pair
    from retraining.adversarial.plan import AdversarialPlan
    from retraining.synthesis.sampling import sample

    pictures = pool.resized(side or size.side)
    plan = AdversarialPlan(
        system=system, size=side or size.side, steps=steps, batch=size.batch, latent=latent,
        mapping_layers=mapping_layers, seed=_SEED, device=device,
        diffaugment="paper" if system.startswith("stylegan2") else "none",
    )  # fmt: skip
    try:
        weights = train_pair(plan, pictures.seen[kind], folder, report=report)
    except (CollapseError, DivergedError) as error:
        return {"ended": str(error)}
    drawn = sample(plan, weights, len(pictures.unseen[kind]), _SEED)
    return _compared(pictures, kind, drawn, folder)


def translator_figures(
    pool: Pool, size: Size, folder: Path, device: str, report: Report, *, system: str, steps: int
) -> dict[str, Any]:
    """A translator trained on all kinds, and what it makes of unseen backgrounds beside unseen defects.

    Goes on from its checkpoint in ``folder``. Raises ``TrainingStoppedError`` after a checkpoint.
    """
    from retraining.data.pixels import PictureSet
    from retraining.translators.domains import train_translator
    from retraining.translators.plan import TranslatorPlan
    from retraining.translators.trained import open_translator, translate

    pictures = pool.resized(size.side)
    plan = TranslatorPlan(
        system=system, size=size.side, steps=steps, batch=size.batch, seed=_SEED, device=device
    )
    counts = [len(pictures.seen[name]) for name in pictures.classes]
    names = tuple(
        f"{name} {number}" for name, n in zip(pictures.classes, counts, strict=True) for number in range(n)
    )
    pixels = np.concatenate([pictures.seen[name] for name in pictures.classes])
    known = PictureSet(pixels, np.repeat(np.arange(len(counts)), counts), pictures.classes, names, names)
    background = pictures.classes[0]
    try:
        weights = train_translator(plan, known, background, folder, report=report)
    except DivergedError as error:
        return {"ended": str(error)}
    trained = open_translator(weights)
    found = [
        _compared(pictures, kind, translate(trained, pictures.unseen[background], kind), folder)
        for kind in KINDS
    ]
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}


def _compared(pictures: Pool, kind: str, drawn: Pixels, folder: Path) -> dict[str, Any]:
    """Distances from unseen real pictures by what the shipped engine sees; the floor: other real ones."""
    from retraining.runs.sheets import tile, write_picture

    shown = np.concatenate([pictures.unseen[kind][:8], drawn[:8]])
    write_picture(tile(shown, 8), folder / f"sheet-{kind}.png")
    extractor = open_extractor(pictures.extractor)
    unseen = pictures.unseen[kind]
    found = compare(unseen, drawn, extractor, _SEED)
    floor = compare(unseen, pictures.seen[kind], extractor, _SEED)
    return {
        "KID x 1000": KID_SCALE * found.kid,
        "of real pictures": KID_SCALE * floor.kid,
        "coverage": found.coverage,
    }
