"""The live view on a terminal (tmux's): any size, changed while it runs, and nothing old stays."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator

import pytest
from rich.console import Console

from drivers.sorters.interface import SorterHealth
from station.cli.live import live_view
from station.line_values import LineStatus
from station.supervision import State
from tests.station.test_run_views import status

SIZES = [(100, 50), (80, 24), (60, 16), (40, 10), (20, 5)]


class Terminal(io.StringIO):
    """A pane of tmux, and what a person sees in it of what is written."""

    def __init__(self, server: str, columns: int, rows: int) -> None:
        super().__init__()
        self._server = ("tmux", "-L", server, "-f", os.devnull)
        size = ("-x", str(columns), "-y", str(rows))
        self._tmux("new-session", "-d", *size, "stty raw -echo; echo started; exec sleep 600")
        self._tmux("set-option", "-g", "status", "off")
        self.resize(columns, rows)
        while "started" not in self._tmux("capture-pane", "-p"):
            time.sleep(0.005)
        self._pane = os.open(
            self._tmux("display-message", "-p", "#{pane_tty}").strip(), os.O_WRONLY | os.O_NOCTTY
        )
        self._marks = 0
        self.write("\x1b[2J\x1b[H")

    def write(self, text: str) -> int:
        rest = text.replace("\n", "\r\n").encode()
        while rest:
            rest = rest[os.write(self._pane, rest) :]
        return len(text)

    @property
    def shown(self) -> str:
        self._marks += 1
        self.write(f"\x1b]2;mark {self._marks}\x07")  # the pane's title: it has read everything before it
        until = time.monotonic() + 30
        while self._tmux("display-message", "-p", "#{pane_title}").strip() != f"mark {self._marks}":
            assert time.monotonic() < until, "tmux does not read"
            time.sleep(0.002)
        return self._tmux("capture-pane", "-p").rstrip("\n")

    def resize(self, columns: int, rows: int) -> None:
        self._tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def end(self) -> None:
        os.close(self._pane)
        self._tmux("kill-server")

    def _tmux(self, *arguments: str) -> str:
        environment = {
            name: os.environ[name] for name in os.environ if name not in ("TMUX", "COLUMNS", "LINES")
        }
        environment |= {"TERM": "xterm", "LC_ALL": "C.UTF-8"}
        return subprocess.run(
            (*self._server, *arguments),
            check=True,
            capture_output=True,
            text=True,
            env=environment,
            timeout=30,
        ).stdout


@pytest.fixture
def terminal_of() -> Iterator[Callable[[int, int], Terminal]]:
    """Makes terminals of so many columns and rows; each is a server of its own."""
    made: list[Terminal] = []

    def make(columns: int, rows: int) -> Terminal:
        made.append(Terminal(f"test-{uuid.uuid4().hex}", columns, rows))
        return made[-1]

    yield make
    for terminal in made:
        terminal.end()


def in_trouble() -> LineStatus:
    gone = SorterHealth(False, "serial /dev/ttyUSB0", 0, 0, 0, 0, 0, 0, "OLD no such device " * 9)
    return status(
        state=State.PREOPERATIONAL,
        reason="OLD the cell does not answer " * 8,
        risks=("OLD a deadline of 59 s " * 5, "OLD another"),
        sorter=gone,
        failure="",
    )


@pytest.mark.parametrize(("columns", "rows"), SIZES, ids=str)
def test_nothing_of_an_earlier_moment_stays_whatever_its_height_was(
    columns: int, rows: int, terminal_of: Callable[[int, int], Terminal]
) -> None:
    terminal = terminal_of(columns, rows)
    console = Console(file=terminal, force_terminal=True, width=columns, height=rows, color_system=None)
    with live_view(console, "station test", 200) as show:
        show(status())
        before = terminal.shown
        for _ in range(3):
            show(in_trouble())
            assert "preoperational" in terminal.shown
            assert rows < 10 or "OLD" in terminal.shown
            show(status())
            assert terminal.shown == before
    assert before.count(" ready") == 1


@pytest.mark.parametrize(("columns", "rows"), SIZES, ids=str)
def test_state_and_counts_are_shown_on_the_smallest_terminal(
    columns: int, rows: int, terminal_of: Callable[[int, int], Terminal]
) -> None:
    terminal = terminal_of(columns, rows)
    console = Console(file=terminal, force_terminal=True, width=columns, height=rows, color_system=None)
    with live_view(console, "station test", 200) as show:
        show(in_trouble())
        said = " ".join(terminal.shown.split())
    for word in ("preoperational", "7 of 200", "accepted"):
        assert word in said, terminal.shown
    if rows >= 10:
        assert "sorter" in said
        assert "part 7: reject" in said


def test_the_view_follows_a_change_of_the_terminals_size(
    monkeypatch: pytest.MonkeyPatch, terminal_of: Callable[[int, int], Terminal]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("LINES", raising=False)
    terminal = terminal_of(100, 50)
    size = [100, 50]
    monkeypatch.setattr(os, "get_terminal_size", lambda *_: os.terminal_size(size))
    console = Console(file=terminal, force_terminal=True, color_system=None)
    with live_view(console, "station test", 200) as show:
        show(in_trouble())
        for columns, rows in [*SIZES, (40, 10), (80, 24)]:
            size[:] = [columns, rows]
            terminal.resize(columns, rows)
            show(in_trouble())
            show(status())
            assert "OLD" not in terminal.shown
            assert terminal.shown.count(" ready") == 1
            assert "accepted" in terminal.shown


def test_the_log_stands_in_the_view_and_is_printed_when_it_ends(
    terminal_of: Callable[[int, int], Terminal],
) -> None:
    terminal, written = terminal_of(80, 24), io.StringIO()
    console = Console(file=terminal, force_terminal=True, width=80, height=24, color_system=None)
    writer = logging.StreamHandler(written)
    root = logging.getLogger()
    root.addHandler(writer)
    try:
        with live_view(console, "station test", 200) as show:
            logging.getLogger("station.test").warning("the camera was lost %s", "[/x]")
            show(status())
            assert "the camera was lost [/x]" in terminal.shown
            assert written.getvalue() == ""
        assert written.getvalue() == "the camera was lost [/x]\n"
        logging.getLogger("station.test").warning("later")
        assert written.getvalue().endswith("later\n")
    finally:
        root.removeHandler(writer)


def test_a_terminal_that_cannot_move_its_cursor_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with live_view(console, "station test", 200) as show:
        show(status())
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert said.startswith("ready: 7/200 parts")
    assert "\x1b[?1049h" not in said
