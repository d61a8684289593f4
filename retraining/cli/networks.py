"""``retrain networks``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from torch import nn

PAPERS: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("classifier", "inception-cnn"): "3.58 M (SMHSI, Table 10)",
        ("classifier", "baseline-cnn"): "5.12 M (SMHSI, Table 10)",
        ("classifier", "sca-cnn"): "0.52 M (SMHSI, Table 10)",
        ("classifier", "smhsi-resnet50"): "24.15 M (SMHSI, Table 10)",
        ("classifier", "smhsi-mobilenet-v2"): "2.63 M (SMHSI, Table 10)",
        ("classifier", "smhsi-efficientnet-v2-s"): "20.70 M (SMHSI, Table 10)",
        ("classifier", "smhsi-inception-v3"): "22.37 M (SMHSI, Table 10)",
        ("generator", "sdg-gan"): "10,029,057 (SMHSI, Table 2)",
        ("critic", "sdg-gan"): "6,993,409 (SMHSI, Table 3)",
    }
)
"""The counts that papers give for five classes and 256 px: their own networks for grey, others for colour."""


def networks(
    size: Annotated[int, typer.Option(min=1, help="Side of the pictures, px.")] = 256,
    classes: Annotated[int, typer.Option(min=2, help="Number of classes of the classifiers.")] = 5,
) -> None:
    """List every network by name, with its number of parameters beside the paper's.

    The papers' own networks are counted for grey pictures, those of timm for colour. The running values of
    batch normalisation are counted for classifiers, as in the papers' tables, and not for the others.
    Translators have a domain for each class; those that draw by masks, and segmenters, have the classes of
    defects alone, one less.

    Examples:

        retrain networks

        retrain networks --size 64 --classes 9

    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    shown = Table("kind", "network", f"parameters at {size} px", "the paper's", box=box.SIMPLE_HEAD)
    shown.columns[1].overflow = "fold"
    shown.columns[2].justify = "right"
    for kind, name, count in rows(size, classes):
        paper = PAPERS.get((kind, name), "") if (size, classes) == (256, 5) else ""
        shown.add_row(kind, name, count, paper)
    Console().print(shown)


def rows(size: int, classes: int) -> Iterator[tuple[str, str, str]]:
    """Kind, name and parameters of every network, or why it takes no pictures of this size."""
    import torch

    from models.classifiers import CLASSIFIERS
    from models.classifiers.backbones import SMALLEST_PX
    from models.classifiers.layers import count_parameters
    from models.critics import CRITICS
    from models.generators import GENERATORS
    from models.segmenters import SEGMENTERS, Segmenter
    from models.translators import TRANSLATORS
    from models.translators.cycle_gan import CycleCritic, CycleGenerator
    from models.translators.masked_unet import MaskedUNet
    from models.translators.syndgan import SynGenerator
    from retraining.adversarial.plan import SYSTEMS

    def counted(build: Callable[[], nn.Module], count: Callable[[nn.Module], int]) -> str:
        try:
            with torch.device("meta"):
                return f"{count(build()):,}"
        except ValueError as problem:
            return str(problem)

    for name, classifier in CLASSIFIERS.items():
        channels = 3 if name in SMALLEST_PX or name.startswith("smhsi-") else 1
        yield "classifier", name, counted(partial(classifier, classes, channels, size), count_parameters)
    latents = {system.generator: system.latent for system in SYSTEMS.values()}
    for name, generator in GENERATORS.items():
        yield "generator", name, counted(partial(generator, size, 1, latents[name]), _trained)
    for name, critic in CRITICS.items():
        yield "critic", name, counted(partial(critic, size, 1), _trained)
    for name, translator in TRANSLATORS.items():
        yield "translator", name, counted(partial(translator.generator, size, 1, classes), _trained)
        yield "translator's critic", name, counted(partial(translator.critic, size, 1, classes), _trained)
    yield "translator", "cycle-gan", counted(partial(CycleGenerator, size), _trained)
    yield "translator's critic", "cycle-gan", counted(partial(CycleCritic, size), _trained)
    yield "translator by masks", "syndgan", counted(partial(SynGenerator, size, 1, classes - 1), _trained)
    yield "translator by masks", "masked-unet", counted(partial(MaskedUNet, size, 1, classes - 1), _trained)
    for name in SEGMENTERS:
        yield "segmenter", name, counted(partial(Segmenter, name, classes=classes - 1), _trained)


def _trained(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
