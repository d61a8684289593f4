"""Names, classes, files and errors that look like styles or move the cursor are shown as they are."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.console import Console

from drivers.sorters.interface import Outcome
from station.cli.journal_tables import COLUMNS, line, record_table
from station.cli.live import dashboard, live_view, save_picture
from station.cli.rows import print_rows
from station.cli.status import shown
from station.cli.summary import print_summary
from station.cli.text import styled, told
from station.decision import Verdict
from station.journal.record import PartRecord
from station.line_values import LineStatus
from station.observers import ObserverStatus
from station.observers.truth import Confusion
from station.outcomes import Outcomes
from station.queues import QueueStatus
from station.statistics import Settled, Statistics
from tests.station.test_run_views import status

HOSTILE = (
    "cell [/x] 4",
    "[red]",
    "[/]",
    "[link=file:///etc]a[/link]",
    "a\\",
    "\\[b]",
    "[bold",
    "\x1b[2Jgone",
    ":smile:",
)


def hostile(text: str) -> LineStatus:
    statistics = Statistics()
    for part, outcome in ((1, Outcome.REJECT), (2, Outcome.FAULT)):
        statistics.trigger()
        statistics.verdict(Settled(part, Verdict(outcome, 1, text, 0.5, 1, 2, f"{text}: {text}"), 1.0))
    base = status()
    return replace(
        base,
        reason=text,
        recipe=text,
        engine=replace(base.engine, name=text, backend=text, precision=text),
        statistics=statistics.snapshot(),
        camera=replace(base.camera, description=text, last_error=text),
        sorter=replace(base.sorter, connected=False, description=text, last_error=text),
        queues=(QueueStatus(text, 1, 0, 0, 0),),
        observers=(ObserverStatus(text, QueueStatus(text, 1, 0, 0, 3), 1, 1, 9.0, text, text),),
        failure=text,
        risks=(text,),
    )


def drawn(*what: object) -> str:
    console = Console(file=io.StringIO(), width=400, force_terminal=False)
    for one in what:
        console.print(one)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize("text", HOSTILE)
def test_the_live_view_the_plain_line_and_the_summary_show_any_text(text: str, tmp_path: Path) -> None:
    now = hostile(text)
    clean = text.replace("\x1b", "?")
    assert clean in drawn(dashboard(now, f"station {text}", 2))
    save_picture(tmp_path / "view.svg", now, text, 2)
    plain = Console(file=io.StringIO(), width=400, force_terminal=False)
    with live_view(plain, text, None) as show:
        show(now)
    counts = Outcomes(1, 0, 1, 1, 0, 0, 0, 0)
    print_summary(plain, now, text, Confusion({text: {text: 1}}, counts, 0, (), ()), (text,))
    said = plain.file.getvalue()  # type: ignore[attr-defined]
    assert clean in said
    assert "\x1b" not in said


@pytest.mark.parametrize("text", HOSTILE)
def test_a_record_of_any_text_is_listed_and_shown(text: str) -> None:
    record = PartRecord(
        record_id=1,
        part_id=2,
        opened_at="2026-01-01T00:00:00.000000Z",
        station=text,
        mode=text,
        is_simulated=True,
        recipe=text,
        recipe_version=1,
        recipe_digest=text,
        requested_recipe=text,
        fault_bin=9,
        serial_number=text,
        lot=text,
        camera_model=text,
        engine_digest=text,
        backend=text,
        outcome="reject",
        class_name=text,
        confidence=0.9,
        bin=2,
        reason=text,
        acknowledged=False,
        ack_problem=text,
    )
    clean = text.replace("\x1b", "?")
    listed = Console(file=io.StringIO(), width=400, force_terminal=False)
    print_rows(listed, COLUMNS, [line(record)], "reason")
    said = drawn(record_table(record)) + listed.file.getvalue()  # type: ignore[attr-defined]
    assert said.count(clean) >= 10
    assert "\x1b" not in said


def test_the_status_of_another_process_is_shown_whatever_it_says() -> None:
    text = f"{HOSTILE[0]} :smile:"
    prepared = {"recipe": text, "recipe_digest": text, "engine": text, "engine_digest": text}
    document = {
        "station": text,
        "software_version": text,
        "state": text,
        "reason": "\x1b]0;owned\x07",
        "accepted_risks": [text],
        "marks": {"lot": text},
        "canary": {"golden": 1, "passed": 1, "period_s": 60.0, "longest_step_ms": 1.0, "problem": text},
        "prepared": prepared | {"backend": text, "precision": text},
        "parts": {
            "triggers": 1,
            "accepted": 1,
            "rejected": 0,
            "faulted": 0,
            "in_hand": 0,
            "overloaded": 2,
            "yield": 1.0,
            "per_second": 1.0,
        },
        "trigger_to_ms": {},
        "queues": [],
        "observers": [{"name": text, "note": text, "observed": 1, "problem": text}],
        "camera": {
            "connected": True,
            "description": text,
            "delivered": 1,
            "lost": 0,
            "incomplete": 0,
            "discarded": 0,
            "reopened": 0,
            "temperature_c": None,
            "last_error": text,
        },
        "sorter": {
            "connected": True,
            "description": text,
            "resent": 0,
            "garbled": 0,
            "refused": 0,
            "misplaced": 0,
            "unacknowledged": 0,
            "last_error": text,
        },
        "journal": {"records": 1, "open": 0, "head": {"seq": 1, "digest": text}, "path": text},
        "disk": [],
        "disk_problems": [],
        "disk_free_mb": {},
    }
    said = drawn(shown(document))
    assert text in said
    assert "\x1b" not in said


def clean_of(text: str) -> str:
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


@settings(max_examples=300, deadline=None)
@example(text="\\[", other="")
@example(text=":smile:", other=":smile:")
@example(text="\ufffc", other="{}")
@given(text=st.text(max_size=40), other=st.text(max_size=10))
def test_any_text_is_shown_as_it_is_and_only_markup_of_ours_styles_it(text: str, other: str) -> None:
    clean, clean_other = clean_of(text), clean_of(other)
    assert told(text).plain == clean
    both = styled("[dim]first [red]{}[/][/] and {}.", text, other)
    assert both.plain == f"first {clean} and {clean_other}."
    styles = {(span.style, both.plain[span.start : span.end]) for span in both.spans if span.end > span.start}
    assert styles == {("dim", f"first {clean}")} | ({("red", clean)} if clean else set())


def test_each_place_in_markup_takes_one_text() -> None:
    for texts in ((), ("a", "b")):
        with pytest.raises(ValueError, match="zip"):
            styled("[red]{}[/]", *texts)


def test_no_file_of_the_command_lines_escapes_or_puts_outside_text_into_markup() -> None:
    root = Path(__file__).parents[3]
    own_way = r"rich\.markup|print\([^\n]*markup=False|\bf\"[^\"\n]*(\[/\]|\{(told|styled)\()"
    files = [file for room in ("station", "retraining", "deploy") for file in (root / room).rglob("*.py")]
    assert [file.name for file in files if re.search(own_way, file.read_text())] == []
