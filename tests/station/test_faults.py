"""Every fault has one code, and the code stands wherever the fault is named."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from drivers.sorters.handshake import Refusal
from drivers.sorters.messages import MAX_TEXT, FaultCode, RefusalCode
from drivers.sorters.plain_io.tracking import Trouble
from station.cli import app
from station.decision import fault
from station.faults import GROUPS, Code, code_of, code_of_problem, markdown
from station.patching.geometry import PatchingError, Reason
from station.recipe import load_recipe
from station.statistics import Settled, Statistics
from station.supervision import Readiness

ROOT = Path(__file__).parents[2]


def test_the_documents_tables_are_what_the_command_prints() -> None:
    tables = (ROOT / "docs" / "faults.md").read_text().partition("## Every code\n\n")[2]
    printed = CliRunner().invoke(app, ["faults", "--markdown"]).output
    assert tables == markdown() == printed, "write the output of `station faults --markdown` there"


def test_every_code_is_one_of_its_own_and_says_all_in_plain_words() -> None:
    codes = [one.code for one in Code]
    assert len(set(codes)) == len(codes)
    assert codes == sorted(codes)
    for one in Code:
        assert re.fullmatch(r"F[1-9][0-9]{2}", one.code)
        assert one.code[1] in GROUPS
        for text in (one.meaning, one.cause, one.remedy):
            assert text
            assert text.isascii()
            assert "|" not in text
            assert not text.endswith(".")


def test_every_reason_of_the_wire_and_of_the_cut_has_its_code() -> None:
    for reason in Reason:
        assert PatchingError(reason, "seen").code.code[1] == "2"
    for refusal in RefusalCode:
        assert f"TRIGGER-REFUSED {refusal.value}:" in Code[refusal.name].meaning
    for problem in FaultCode:
        assert f"FAULT {problem.value}:" in Code[problem.name].meaning
    for trouble in Trouble:
        assert code_of_problem(f"{trouble}: what was seen") is Code[trouble.name]
    assert code_of_problem("no RESULT-ACK within 2 s") is None
    assert {one.name for one in Refusal} == {one.name for one in RefusalCode}
    assert set(Readiness.CODES) == {
        value for name, value in vars(Readiness).items() if name.isupper() and isinstance(value, str)
    } - {Readiness.FAILED}


def test_no_fault_of_a_part_is_named_without_a_code() -> None:
    """A new fault in the sources needs an entry in the list: nobody can look up a reason without a code."""
    calls = 0
    for file in ("line.py", "acquisition.py", "cli/inspect.py", "bench/journal.py"):
        text = (ROOT / "station" / file).read_text()
        for call in re.findall(r"(?:self\._fault\(part, |self\._fault\(lost, |\bfault\()([^\n]*)", text):
            assert not call.startswith(('"', 'f"')), call
            calls += 1
    assert calls > 20


def test_the_code_comes_first_and_survives_a_short_wire() -> None:
    reason = Code.INCOMPLETE.of("incomplete frame: " + "x" * 100)
    assert code_of(reason[:MAX_TEXT]) is Code.INCOMPLETE
    assert code_of("patch 3: scratch 0.98") is None
    assert code_of("F9999 of another machine") is None
    assert code_of("") is None


def test_faults_are_counted_by_code_whatever_their_words() -> None:
    recipe = load_recipe(ROOT / "recipes" / "servo-motor-housing.yaml")
    statistics = Statistics()
    for n in range(5):
        statistics.trigger()
        verdict = fault(Code.NO_FRAME.of(f"no frame: {n} ms"), recipe)
        statistics.verdict(Settled(n + 1, verdict, 1.0))
    assert statistics.snapshot().fault_codes == {"F101": 5}


def test_an_operator_asks_what_a_code_means() -> None:
    found = CliRunner().invoke(app, ["faults", "f102", "F606 camera: lost"])
    assert found.exit_code == 0
    assert Code.CAMERA_LOST.meaning in found.output
    assert "remedy: check power and cable" in found.output
    everything = CliRunner().invoke(app, ["faults"]).output
    assert all(f"{one.code}  {one.meaning}" in everything for one in Code)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["F999"], "no code of a fault: F999; write F and three digits, from F101 to F901"),
        (["F101", "camera", "F0"], "no code of a fault: camera, F0;"),
        (["F101", "--markdown"], "leave the codes out"),
    ],
)
def test_what_is_no_code_is_said_with_what_would_be(words: list[str], says: str) -> None:
    found = CliRunner().invoke(app, ["faults", *words])
    assert found.exit_code != 0
    assert says in str(found.exception)
