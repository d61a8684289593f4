"""What ``retrain engine`` and ``retrain patches`` share: stages with progress bars, the trained network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from retraining.cli.options import progress_bars

if TYPE_CHECKING:
    from torch import nn

    from retraining.classifiers.loop import TrainingPlan, Validator
    from retraining.classifiers.patch_sizes import Stage
    from retraining.surfaces.crops import Source


def run_stages(
    stages: tuple[Stage, ...],
    source_for: Callable[[int], Source],
    validator_for: Callable[[int], Validator | None],
    out: Path,
    resume: bool,
) -> Path:
    """Train the stages with one progress bar each; the best weights of the last one."""
    from retraining.classifiers.patch_sizes import train_in_stages

    with progress_bars() as progress:
        bars = {
            s.patch_px: progress.add_task(f"{s.patch_px}-px patches", total=s.plan.steps, status="")
            for s in stages
        }
        weights = train_in_stages(
            stages, source_for, out, validator_for=validator_for, resume=resume,
            report=lambda stage, step, line: progress.update(
                bars[stage.patch_px], completed=step, status=line
            ),
        )  # fmt: skip
    print(f"best weights: {weights}")
    return weights


def network_of(plan: TrainingPlan, source: Source, weights: Path) -> nn.Module:
    """The plan's network with the weights of a file."""
    from retraining.classifiers.loop import build_network, load_weights

    network = build_network(plan, source)
    network.load_state_dict(load_weights(weights))
    return network
