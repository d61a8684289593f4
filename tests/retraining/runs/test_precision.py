"""``auto`` times a step of each arithmetic and keeps the faster."""

from __future__ import annotations

import time

import pytest
import torch

from retraining.runs import precision
from retraining.runs.precision import use_bf16
from station.machine import Processor

CPU = torch.device("cpu")


@pytest.fixture
def with_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that says that it multiplies bf16."""
    monkeypatch.setattr(precision, "processor", lambda: Processor("test", frozenset({"avx512_bf16"})))


def test_what_is_asked_for_is_used_without_a_try() -> None:
    def never(bf16: bool) -> None:
        raise AssertionError

    assert use_bf16("bf16", CPU, never, "asked")
    assert not use_bf16("fp32", CPU, never, "asked")


@pytest.mark.parametrize("faster", [False, True])
def test_auto_keeps_the_faster_of_the_two(faster: bool, with_bf16: None) -> None:
    tried: list[bool] = []

    def step(bf16: bool) -> None:
        tried.append(bf16)
        time.sleep(0.0 if bf16 is faster else 0.02)

    assert use_bf16("auto", CPU, step, ("slow", not faster)) is faster
    assert tried == [False, False, True, True], "one to warm up and one to time, of each"
    assert use_bf16("auto", CPU, step, ("slow", not faster)) is faster
    assert len(tried) == 4, "the same work is not timed twice"


def test_hardware_without_bf16_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "processor", lambda: Processor("test", frozenset({"avx2"})))
    tried: list[bool] = []
    assert not use_bf16("auto", CPU, tried.append, "old")
    assert tried == []
