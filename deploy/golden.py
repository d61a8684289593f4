"""What a golden part must be: one whose scores tell a wrong network from a right one, and nothing else.

A golden part shall differ on a device where something is wrong, not where a back end rounds as it may. A
part on the network's knife edge does the latter. So each candidate is scored by stand-ins for the back ends
with coarser numbers, which any machine can compute, and is refused when one of them uses up half of what
:mod:`station.engines.prove` will allow the real one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy.scoring import onnx_novelty, onnx_scorer
from station.decision import FAR, Rules, decide_by
from station.engines.interface import EngineError, Scorer
from station.engines.manifest import INT8_SIGNED, Variant

MARGIN = 0.1
"""Least distance of the two most probable classes on every patch of a golden part."""
SHARE = 0.5
"""How much of the tolerance a stand-in may use: orders of summation differ from one back end to the next."""
_PRODUCTS = frozenset({"Conv", "Gemm", "MatMul"})


class DoubtfulPartError(EngineError):
    """A surface is no golden part; the message says why."""


@dataclass(frozen=True, slots=True)
class _StandIn:
    name: str
    score: Scorer
    novelty: Scorer | None
    recorded: Variant
    """Whose recorded scores the back end it stands for will be compared with."""
    limit: float


class GoldenRule:
    """Decides whether a surface may be a golden part of these networks, and what is recorded for it."""

    def __init__(
        self,
        networks: Mapping[Variant, bytes],
        rules: Rules,
        tolerance: float,
        int8_tolerance: float,
        novelty_tolerance: float | None = None,
    ) -> None:
        """``networks``: ONNX files as they are shipped; ``novelty_tolerance``: None where they give none."""
        import onnx

        self._rules = rules
        self._novelty_tolerance = novelty_tolerance
        far = novelty_tolerance is not None
        kept: tuple[Variant, ...] = ("fp32", "int8")
        recorded = [name for name in kept if name in networks]
        self._recorded = {name: onnx_scorer(networks[name]) for name in recorded}
        self._novelty = {name: onnx_novelty(networks[name]) for name in recorded if far}
        rounded = rounded_to_bf16(onnx.load_from_string(networks["fp32"])).SerializeToString()
        far_rounded = onnx_novelty(rounded, optimised=False) if far else None
        bf16 = onnx_scorer(rounded, optimised=False)
        self._stand_ins = [_StandIn("bf16", bf16, far_rounded, "fp32", SHARE * tolerance)]
        if INT8_SIGNED in networks:
            signed = onnx_scorer(networks[INT8_SIGNED])
            far_signed = onnx_novelty(networks[INT8_SIGNED]) if far else None
            self._stand_ins.append(_StandIn(INT8_SIGNED, signed, far_signed, "int8", SHARE * int8_tolerance))

    def record(self, truth: str, patches: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """The scores to record, by precision. Raises :class:`DoubtfulPartError`."""
        recorded: dict[str, NDArray[np.float32]] = {
            precision: score(patches) for precision, score in self._recorded.items()
        }
        novelty: dict[str, NDArray[np.float32]] = {
            precision: far(patches) for precision, far in self._novelty.items()
        }
        for precision, scores in recorded.items():
            found = self._named(scores, novelty.get(precision))
            if found != truth:
                raise DoubtfulPartError(f"the {precision} network takes it for {found}")
            ordered = np.sort(scores, axis=1)
            margin = float((ordered[:, -1] - ordered[:, -2]).min()) if scores.shape[1] > 1 else 1.0
            if margin < MARGIN:
                raise DoubtfulPartError(
                    f"to the {precision} network a patch lies {margin:.3f} between two classes, "
                    f"less than {MARGIN}"
                )
            self._require_clear(precision, novelty.get(precision))
        for other in self._stand_ins:
            scores = other.score(patches)
            moved = float(np.abs(scores - recorded[other.recorded]).max())
            if not moved <= other.limit:
                raise DoubtfulPartError(
                    f"{other.name} alone moves a probability by {moved:.3f}, more than {other.limit:g}"
                )
            seen = None if other.novelty is None else other.novelty(patches)
            if self._named(scores, seen) != truth:
                raise DoubtfulPartError(f"{other.name} takes it for {self._named(scores, seen)}")
        return recorded

    def _require_clear(self, precision: str, novelty: NDArray[np.float32] | None) -> None:
        """Refuse a part that is unknown or not by less than a back end may round."""
        if novelty is None or self._novelty_tolerance is None or not self._rules.reject_unknown:
            return
        highest = float(novelty.max())
        if abs(highest - FAR) < self._novelty_tolerance * max(highest, 1.0):
            raise DoubtfulPartError(
                f"to the {precision} network its novelty {highest:.3f} lies at the threshold {FAR:g}"
            )

    def _named(self, scores: NDArray[np.float32], novelty: NDArray[np.float32] | None) -> str:
        """The class that the decision gives a part of these scores."""
        return self._rules.name_of(decide_by(scores, self._rules, novelty).class_index)


def rounded_to_bf16(model: Any) -> Any:
    """The ONNX network with both factors and the result of every product rounded to bf16, in place.

    That is what processors with bf16 instructions do: they sum in fp32 and keep layers as bf16. Any machine
    computes this graph, slowly, in fp32. Run it without optimisation, which may take the casts out.
    """
    import onnx

    nodes: list[Any] = []

    def rounded(name: str, result: str) -> None:
        make = onnx.helper.make_node
        nodes.append(make("Cast", [name], [f"{result}_bf16"], to=onnx.TensorProto.BFLOAT16))
        nodes.append(make("Cast", [f"{result}_bf16"], [result], to=onnx.TensorProto.FLOAT))

    for node in list(model.graph.node):
        if node.op_type not in _PRODUCTS:
            nodes.append(node)
            continue
        result = node.output[0]
        for place in (0, 1):
            factor = f"{result}_factor{place}"
            rounded(node.input[place], factor)
            node.input[place] = factor
        node.output[0] = f"{result}_exact"
        nodes.append(node)
        rounded(node.output[0], result)
    del model.graph.node[:], model.graph.value_info[:]
    model.graph.node.extend(nodes)
    return model
