"""The example cell in Structured Text, translated statement by statement into Python, against the station.

There is no IEC compiler here; this shows that its rules work, and nothing about a PLC's compiler.
"""

from __future__ import annotations

import os
import re
import select
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drivers.sorters.interface import Outcome, Result
from drivers.sorters.serial import SerialSettings, SerialSorter
from simulation.cell.line import PtyLine
from tests.waiting import PATIENCE_S

SOURCE = Path(__file__).parents[3] / "docs" / "examples" / "cell.st"

FUNCTIONS: dict[str, Any] = {
    "LEN": len,
    "LEFT": lambda text, count: text[: max(0, count)],
    "RIGHT": lambda text, count: text[len(text) - count :],
    "MID": lambda text, count, at: text[at - 1 : at - 1 + max(0, count)],
    "FIND": lambda text, what: text.find(what) + 1,
    "DELETE": lambda text, count, at: text[: at - 1] + text[at - 1 + count :],
    "CONCAT": lambda one, other: one + other,
    "CODE": ord,
    "STRING_TO_UDINT": lambda text: int(text) if text.isdigit() else 0,
}
for _name in ("UDINT_TO_STRING", "UINT_TO_STRING", "USINT_TO_STRING"):
    FUNCTIONS[_name] = str
for _name in ("TO_UDINT", "UINT_TO_UDINT", "UDINT_TO_UINT", "USINT_TO_UDINT", "UDINT_TO_USINT"):
    FUNCTIONS[_name] = int
WORDS = {"AND": "and", "OR": "or", "NOT": "not", "MOD": "%", "TRUE": "True", "FALSE": "False"}
TOKEN = re.compile(r"'[^']*'|<>|<=|>=|:=|[A-Za-z_]\w*|\d+|\S")


class Translator:
    """Of one function block: each of its parts becomes a Python function of the block's variables."""

    def __init__(self, source: str) -> None:
        text = re.sub(r"\(\*.*?\*\)", "", source, flags=re.S)
        self._strings: list[str] = []
        text = re.sub(r"'[^']*'", self._kept, text)
        self.methods: dict[str, Any] = {}
        self.initial: dict[str, Any] = {}
        body, *methods = re.split(r"METHOD PRIVATE ", text.partition("FUNCTION_BLOCK InspectionCell")[2])
        self._add("cycle", body, {})
        for method in methods:
            name, _, rest = method.partition("\n")
            self._add(name.split(":")[0].strip(), rest.partition("END_METHOD")[0], {})

    def _kept(self, found: re.Match[str]) -> str:
        """A name for a string, which may have a semicolon."""
        self._strings.append(found[0])
        return f"TEXT_{len(self._strings) - 1}_"

    def _add(self, name: str, text: str, local: dict[str, Any]) -> None:
        order: list[str] = []
        for kind, declared in re.findall(r"VAR(_\w+| CONSTANT)?\s(.*?)END_VAR", text, re.S):
            for names, type_, value in re.findall(r"([\w, ]+?)\s*:\s*([^;:]+?)(?::=\s*(\w+))?\s*;", declared):
                for one in names.split(","):
                    start: Any = int(value) if value else "" if type_.startswith("STRING") else 0
                    start = defaultdict(int) if type_.startswith("ARRAY") else start
                    (self.initial if name == "cycle" else local)[one.strip()] = start
                    order += [one.strip()] if kind == "_INPUT" else []
        statements = re.sub(r"VAR.*?END_VAR", "", text, flags=re.S).replace("END_FUNCTION_BLOCK", "")
        taken = ", ".join(f"{one}=None" for one in order)
        lines = [f"def {name}(b, {taken}):", " v = dict(locals())", " r = ''"]
        lines += [f" {line}" for line in self._block(statements, name, local)]
        space: dict[str, Any] = {"f": FUNCTIONS}
        exec("\n".join([*lines, " return r"]), space)
        self.methods[name] = space[name]

    def _block(self, text: str, method: str, local: dict[str, Any]) -> Iterator[str]:
        depth = 0
        opening = r"\s*(?:(ELSIF|IF|WHILE|FOR)\b(.*?)\b(THEN|DO)\b|ELSE\b|END_(?:IF|WHILE|FOR)\s*;|[^;]+;)"
        for found in re.finditer(opening, text, re.S):
            word = found[0].strip()
            if found[1] == "FOR":
                name, first, last = re.split(r":=|\bTO\b", found[2])
                place, low, high = (self._expression(one, method, local) for one in (name, first, last))
                yield " " * depth + f"for {place} in range({low}, {high} + 1):"
                depth += 1
            elif found[1]:
                depth -= found[1] == "ELSIF"
                words = {"IF": "if", "ELSIF": "elif", "WHILE": "while"}
                yield " " * depth + f"{words[found[1]]} {self._expression(found[2], method, local)}:"
                depth += 1
            elif word == "ELSE":
                yield " " * (depth - 1) + "else:"
            elif word.startswith("END_"):
                depth -= 1
            elif word == "RETURN;":
                yield " " * depth + "return r"
            else:
                target, assigned, value = word[:-1].partition(":=")
                if assigned and "(" not in target:
                    left = "r" if target.strip() == method else self._expression(target, method, local)
                    yield " " * depth + f"{left} = {self._expression(value, method, local)}"
                else:
                    yield " " * depth + self._expression(word[:-1], method, local)

    def _expression(self, text: str, method: str, local: dict[str, Any]) -> str:
        tokens, out = TOKEN.findall(text), []
        for at, token in enumerate(tokens):
            following = tokens[at + 1] if at + 1 < len(tokens) else ""
            if not re.match(r"[A-Za-z_]", token):
                out.append({"=": "==", "<>": "!=", ":=": "="}.get(token, token))
            elif token.startswith("TEXT_"):
                out.append(self._strings[int(token[5:-1])])
            elif token in WORDS:
                out.append(WORDS[token])
            elif following == ":=":
                out.append(token)  # the name of an argument
            elif following == "(":
                out.append(f"f['{token}']" if token in FUNCTIONS else f"b['{token}']")
                if token not in FUNCTIONS:
                    out[-1] += "(b, "
                    tokens[at + 1] = " "
            else:
                out.append(f"v['{token}']" if token in local else f"b['{token}']")
        return " ".join(out)


class StCell:
    """The function block, and the program around it: a robot that needs 5 ms for a gate."""

    def __init__(self, port: Path, parts: int, lossy: bool = False) -> None:
        translated = Translator(SOURCE.read_text(encoding="utf-8"))
        self.block: dict[str, Any] = {**translated.initial, **translated.methods, "Session": 321}
        self.sorted: list[tuple[int, int, str]] = []
        self._parts, self._lossy = parts, lossy
        self._line = PtyLine(str(port))
        self._line.plug_in()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        block, pending, lines, sent, next_part, sort_at = self.block, b"", [], 0, 1, 0.0
        while not self._stop.wait(0.001):
            if select.select([self._line.fd], [], [], 0)[0]:
                pending += os.read(self._line.fd, 4096)
                *whole, pending = pending.split(b"\r\n")
                lines += [line.decode("ascii") for line in whole]
            block["NowMs"] = time.monotonic_ns() // 1_000_000
            block["Received"] = bool(lines)
            block["ReceivedLine"] = lines.pop(0) if lines else ""
            block["PlacePart"] = not block["Busy"] and next_part <= self._parts
            block["PartId"] = next_part
            block["Sorted"] = bool(sort_at) and time.monotonic() >= sort_at
            if block["Sorted"]:
                sort_at = 0.0
            block["cycle"](block)
            if block["PlacePart"] and block["Busy"]:
                next_part += 1
            if block["Sort"]:
                self.sorted.append((block["Part"], block["Bin"], block["Why"]))
                sort_at = time.monotonic() + 0.005
            if block["Send"]:
                sent += 1
                line = block["SendLine"]
                if self._lossy and sent % 5 == 0:
                    line = line.replace(";", ":", 1)
                os.write(self._line.fd, f"{line}\r\n".encode("ascii"))
        self._line.pull_out()

    def end(self) -> None:
        self._stop.set()
        self._thread.join()


@pytest.fixture
def sorter(tmp_path: Path) -> Iterator[SerialSorter]:
    made = SerialSorter(SerialSettings(port=str(tmp_path / "plc"), words="lines", ack_timeout_ms=3000))
    yield made
    made.close()


@pytest.mark.parametrize("lossy", [False, True])
def test_the_function_block_sorts_every_part_into_the_bin_of_its_verdict(
    tmp_path: Path, sorter: SerialSorter, lossy: bool
) -> None:
    cell = StCell(tmp_path / "plc", 12, lossy)
    try:
        sorter.open()
        sorter.set_ready(True)
        for _ in range(12):
            trigger = sorter.wait_trigger(PATIENCE_S)
            assert trigger is not None
            sorter.acknowledge(trigger)
            bad = trigger.part_id % 3 == 0
            outcome, bin_ = (Outcome.REJECT, 9) if bad else (Outcome.ACCEPT, 0)
            sorter.send(Result(trigger.part_id, outcome, bin_, int(bad), "scratch; 2 * 3" if bad else ""))
            receipt = sorter.wait_receipt(PATIENCE_S)
            assert receipt is not None
            assert receipt.acknowledged
        assert cell.sorted == [(part, 0 if part % 3 else 9, "verdict") for part in range(1, 13)]
        assert (sorter.health().garbled > 0) is lossy
        assert "cell.st" in sorter.health().description
    finally:
        cell.end()


def test_the_function_block_rejects_without_a_verdict_and_what_contradicts(
    tmp_path: Path, sorter: SerialSorter
) -> None:
    cell = StCell(tmp_path / "plc", 2)
    try:
        sorter.open()
        sorter.set_ready(True)
        assert sorter.wait_trigger(PATIENCE_S) is not None
        second = sorter.wait_trigger(PATIENCE_S)
        assert second is not None
        sorter.send(Result(second.part_id, Outcome.ACCEPT, 5, 0, ""))
        receipt = sorter.wait_receipt(PATIENCE_S)
        assert receipt is not None
        assert receipt.bin == 9
        assert cell.sorted == [(1, 9, "no verdict in time"), (2, 9, "outcome and bin contradict")]
        sorter.send(Result(1, Outcome.ACCEPT, 0, 0, ""))
        late = sorter.wait_receipt(PATIENCE_S)
        assert late is not None
        assert late.bin == 9, "the late result is answered with where the part went"
    finally:
        cell.end()
