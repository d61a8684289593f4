"""`station journal`, export and selection, as a person uses them beside a running station."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import runpy
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from station.cli.journal import app
from station.journal.cursors import advance, open_cursor
from station.journal.export import export
from station.journal.reading import JournalReader
from station.journal.record import COLUMNS
from station.journal.selection import Selection, parse_moment

plant = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("journal_plant.py"))))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A journal that a station is writing: 31 parts, one of them in hand."""
    path = tmp_path_factory.mktemp("journal") / "journal.sqlite"
    with plant.make(path) as journal:
        for number in range(30):
            plant.whole_part(journal, 100 + number, plant.VERDICTS[number % 3])
        plant.open_part(journal, 130)
        journal.flush()
        yield path


def station_journal(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "160", "TERM": "dumb"}).invoke(app, arguments)


def selected(path: Path, **selection: Any) -> list[int]:
    with JournalReader(path) as reader:
        return [record.part_id for record in reader.records(Selection(**selection))]


def test_records_are_selected_by_outcome_class_part_and_number(path: Path) -> None:
    assert selected(path) == list(range(100, 131))
    assert selected(path, outcomes=("reject",)) == list(range(101, 130, 3))
    assert selected(path, outcomes=("fault", "open"), newest_first=True, limit=2) == [130, 129]
    assert selected(path, class_names=("pits",)) == list(range(101, 130, 3))
    assert selected(path, part_id=117) == [117]
    assert selected(path, limit=0) == []


def test_records_are_selected_by_time(path: Path) -> None:
    with JournalReader(path) as reader:
        middle = datetime.fromisoformat(list(reader.records())[15].opened_at)
    assert selected(path, since=middle) == list(range(115, 131))
    assert selected(path, until=middle) == list(range(100, 115))
    assert selected(path, since=datetime.now(UTC)) == []


def test_moments_are_understood_as_people_write_them() -> None:
    now = datetime(2031, 3, 1, 12, 0, tzinfo=UTC)
    assert parse_moment("8h", now) == now - timedelta(hours=8)
    assert parse_moment("2 d", now) == now - timedelta(days=2)
    assert parse_moment("2031-03-01T06:00Z") == datetime(2031, 3, 1, 6, tzinfo=UTC)
    assert parse_moment("2031-03-01") == datetime(2031, 3, 1).astimezone(UTC)
    assert (
        parse_moment("0500-03-01T06:00Z") == parse_moment("700000d", now) == datetime(1970, 1, 1, tzinfo=UTC)
    )
    with pytest.raises(ValueError, match="is not a time: write"):
        parse_moment("yesterday")


def test_more_records_than_a_batch_are_read_in_order(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("station.journal.reading.BATCH", 4)
    assert selected(path) == list(range(100, 131))
    assert selected(path, newest_first=True, limit=9) == list(range(130, 121, -1))


# ---------------------------------------------------------------------- export


def test_csv_holds_every_column_and_the_scores(path: Path, tmp_path: Path) -> None:
    done = station_journal("export", str(tmp_path / "all.csv"), "--journal", str(path))
    assert done.exit_code == 0, done.output
    with (tmp_path / "all.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 31
    assert list(rows[0]) == [*COLUMNS, "scores"]
    assert (rows[1]["part_id"], rows[1]["outcome"], rows[1]["acknowledged"]) == ("101", "reject", "1")
    assert np.array_equal(np.array(json.loads(rows[1]["scores"]), np.float32), plant.SCORES)
    assert rows[2]["scores"] == rows[30]["outcome"] == ""


@pytest.mark.parametrize("kind", ["json", "jsonl"])
def test_json_is_the_same_by_file_and_by_standard_output(path: Path, tmp_path: Path, kind: str) -> None:
    target = tmp_path / f"rejects.{kind}"
    assert station_journal("export", str(target), "-j", str(path), "-o", "reject").exit_code == 0
    piped = station_journal("export", "-", "-f", kind, "-j", str(path), "-o", "reject").stdout
    assert piped == target.read_text()
    records = json.loads(piped) if kind == "json" else [json.loads(line) for line in piped.splitlines()]
    assert [record["part_id"] for record in records] == list(range(101, 130, 3))
    assert np.array_equal(np.array(records[0]["scores"], np.float32), plant.SCORES)


def test_an_empty_selection_is_still_valid_json(path: Path) -> None:
    done = station_journal("export", "-", "-f", "json", "-j", str(path), "--since", "2100-01-01")
    assert json.loads(done.stdout) == []


def test_parquet_has_types_times_and_scores(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "all.parquet"
    assert station_journal("export", str(target), "-j", str(path)).exit_code == 0
    table = pq.read_table(target)
    assert table.num_rows == 31
    assert str(table.schema.field("opened_at").type) == "timestamp[us, tz=UTC]"
    rows = table.to_pylist()
    assert (rows[1]["outcome"], rows[1]["acknowledged"], rows[30]["outcome"]) == ("reject", True, None)
    assert np.array_equal(np.array(rows[1]["scores"], np.float32), plant.SCORES)
    assert isinstance(rows[0]["frame_ms"], float)


def test_an_export_without_scores_leaves_them_out(path: Path) -> None:
    done = station_journal("export", "-", "-f", "jsonl", "--no-scores", "-j", str(path))
    assert {json.loads(line)["scores"] for line in done.stdout.splitlines()} == {None}


def test_an_export_that_fails_leaves_the_old_file_and_no_rubbish(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "all.csv"
    target.write_text("of last week")

    def broken() -> Iterator[Any]:
        with JournalReader(path) as reader:
            yield from reader.records(Selection(limit=3))
        raise RuntimeError("the reader died")

    with pytest.raises(RuntimeError, match="died"):
        export(broken(), str(target), "csv")
    assert target.read_text() == "of last week"
    assert list(tmp_path.iterdir()) == [target]


def test_an_export_while_parts_are_written_is_whole_and_in_order(tmp_path: Path) -> None:
    path, ended = tmp_path / "journal.sqlite", threading.Event()
    with plant.make(path) as journal:

        def write() -> None:
            number = 1
            while not ended.is_set():
                plant.whole_part(journal, number)
                number += 1

        thread = threading.Thread(target=write)
        thread.start()
        try:
            for kind in ("csv", "jsonl", "parquet") * 3:
                with JournalReader(path) as reader:
                    export(reader.records(), str(tmp_path / f"x.{kind}"), kind)
        finally:
            ended.set()
            thread.join()
        rows = pq.read_table(tmp_path / "x.parquet").to_pylist()
    assert [row["record_id"] for row in rows] == list(range(1, len(rows) + 1))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("export", "parts.txt"), "end the file name with one of"),
        (("export", "-", "-f", "parquet"), "name a file"),
        (("export", "/proc/nowhere/x.csv"), "nowhere"),
    ],
)
def test_a_target_that_cannot_be_written_is_one_clear_line(
    path: Path, arguments: tuple[str, ...], says: str
) -> None:
    done = station_journal(*arguments, "-j", str(path))
    assert done.exit_code == 2
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


# ---------------------------------------------------------------------- list, show, audit


def test_the_list_shows_the_latest_parts_first(path: Path) -> None:
    done = station_journal("list", "--journal", str(path), "-n", "4")
    assert done.exit_code == 0
    assert re.findall(r"(?m)^ *\d+ +(1[23]\d) ", done.stdout)[:1] == ["130"]
    assert "not acknowledged yet" in done.stdout
    assert "no frame: nothing for 0.5 s" in done.stdout


def test_the_list_says_how_many_records_it_leaves_out(path: Path) -> None:
    said = station_journal("list", "-j", str(path), "-n", "4").stderr
    assert "4 of 31 records; --limit N shows more" in said
    some = ("list", "-j", str(path), "-o", "fault", "-n", "4")
    assert "4 of 10 records" in station_journal(*some).stderr
    assert "records" not in station_journal("list", "-j", str(path), "-n", "40").stderr
    assert "no record matches" in station_journal("list", "-j", str(path), "--lot", "none").stderr


def test_a_number_that_is_a_record_and_a_part_says_so(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with plant.make(path) as journal:
        for part in (2, 1, 2, 77):
            plant.whole_part(journal, part)
    as_record = station_journal("show", "2", "-j", str(path))
    assert as_record.stdout.splitlines()[0].strip() == "record 2"
    assert "record 2 is shown; part 2 is record 3: use --part 2" in as_record.stderr
    as_part = station_journal("show", "--part", "2", "-j", str(path))
    assert as_part.stdout.splitlines()[0].strip() == "record 3"
    assert "part 2 has 2 records, this is the latest" in as_part.stderr
    assert "part 77 is record 4: use --part 77" in station_journal("show", "77", "-j", str(path)).stderr
    assert station_journal("show", "4", "-j", str(path)).stderr == ""
    assert station_journal("show", "4", "--part", "2", "-j", str(path)).exit_code == 2


def test_the_list_is_filtered_and_given_as_json_lines(path: Path) -> None:
    done = station_journal("list", "-j", str(path), "--json", "-o", "accept", "-o", "fault", "-n", "3")
    assert [json.loads(line)["outcome"] for line in done.stdout.splitlines()] == ["fault", "accept", "fault"]


def test_the_journal_may_be_named_by_the_environment(path: Path) -> None:
    runner = CliRunner(env={"STATION_JOURNAL": str(path)})
    assert runner.invoke(app, ["list", "--json", "-n", "1"]).exit_code == 0


def test_show_prints_verdict_region_stages_and_a_score_table(path: Path) -> None:
    done = station_journal("show", "--part", "101", "-j", str(path))
    assert done.exit_code == 0
    for word in (
        "reject",
        "pits 0.9300",
        "patch 0: pits 0.930",
        "1065 x 3584 px",
        "acknowledged",
        "0.9000",
        "scratches",
    ):
        assert word in done.stdout
    assert "< decided" in done.stdout


def test_show_marks_the_patches_that_the_decision_called_defective(tmp_path: Path) -> None:
    """Patch 1 reached a threshold though defect-free is more probable; patch 0 was released."""
    path = tmp_path / "journal.sqlite"
    labelled = replace(plant.REJECT, patch=0, labels=(1, 2))
    released = replace(plant.ACCEPT, patch=0, labels=(0, 0))
    with plant.make(path) as journal:
        plant.whole_part(journal, 1, labelled)
        plant.whole_part(journal, 2, released)
    rejected = station_journal("show", "1", "-j", str(path)).stdout.splitlines()
    assert [line.split()[-2:] for line in rejected if "< de" in line] == [
        ["<", "decided"],
        ["<", "defective"],
    ]
    assert "defective" not in station_journal("show", "2", "-j", str(path)).stdout.rpartition("scores")[2]


def test_show_without_a_number_is_the_latest_record_open_or_not(path: Path) -> None:
    done = station_journal("show", "-j", str(path))
    assert "record 31" in done.stdout
    assert "none yet" in done.stdout
    assert json.loads(station_journal("show", "1", "--json", "-j", str(path)).stdout)["part_id"] == 100


def test_a_record_that_is_not_there_is_one_clear_line(path: Path) -> None:
    done = station_journal("show", "999", "-j", str(path))
    assert (done.exit_code, len(done.stderr.splitlines())) == (2, 1)
    assert "has no record 999" in done.stderr


def test_the_audit_prints_sums_and_head_and_exits_with_0(path: Path) -> None:
    done = station_journal("audit", "-j", str(path))
    assert done.exit_code == 0, done.output
    assert "31 = 10 accepted + 10 rejected + 10 faulted + 1 open" in done.stdout
    assert "passed" in done.stdout


def test_the_audit_exits_with_1_and_names_records_when_something_is_wrong(path: Path) -> None:
    done = station_journal("audit", "-j", str(path), "--expect-head", "0" * 64, "--json")
    assert done.exit_code == 1
    report = json.loads(done.stdout)
    assert report["passed"] is False
    assert report["findings"][0]["kind"] == "chain"


@pytest.mark.parametrize("command", ["list", "show", "audit"])
def test_a_journal_that_is_not_there_is_one_clear_line(tmp_path: Path, command: str) -> None:
    done = station_journal(command, "-j", str(tmp_path / "nothing.sqlite"))
    assert done.exit_code == 2
    assert "does not exist" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_without_a_journal_the_configuration_names_it(tmp_path: Path) -> None:
    done = station_journal("list", "--config", str(tmp_path / "no.yaml"))
    assert done.exit_code == 2
    assert "no.yaml" in done.stderr


@pytest.mark.parametrize("command", ["list", "show", "export", "audit"])
def test_every_command_has_help_with_examples(command: str) -> None:
    done = station_journal(command, "--help")
    assert done.exit_code == 0
    assert f"station journal {command}" in done.stdout


def test_brackets_in_a_reason_are_printed_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    odd = plant.Verdict(plant.Outcome.FAULT, 255, "fault", 0.0, None, 9, "error [/bold] in [camera]")
    with plant.make(path) as journal:
        plant.whole_part(journal, 1, odd)
    for command in ("list", "show"):
        assert "error [/bold] in [camera]" in station_journal(command, "-j", str(path)).stdout


def test_csv_text_with_commas_and_line_ends_survives(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    odd = plant.Verdict(plant.Outcome.FAULT, 255, "fault", 0.0, None, 9, 'one, "two"\nthree')
    with plant.make(path) as journal:
        plant.whole_part(journal, 1, odd)
    done = station_journal("export", "-", "-j", str(path))
    assert next(csv.DictReader(io.StringIO(done.stdout, newline="")))["reason"] == 'one, "two"\nthree'


# ---------------------------------------------------------------------- summary, cursors, texts, version


@pytest.fixture(scope="module")
def two_lots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six parts of lot A and three of lot B, over two segments, with the recipe's text."""
    path = tmp_path_factory.mktemp("lots") / "journal.db"
    recipe = SimpleNamespace(**vars(plant.RECIPE) | {"text": RECIPE_TEXT, "digest": RECIPE_DIGEST})
    with plant.make(path) as journal:
        for number in range(9):
            if number == 4:
                journal.change_segment()
            marks = plant.PartMarks(
                lot="A" if number < 6 else "B", shift="early", serial_number=f"SN{number}"
            )
            record_id = journal.open_part(
                plant.Trigger(100 + number, "", time.monotonic_ns()),
                recipe=recipe,
                mode="cell",
                is_simulated=True,
                marks=marks,
            )
            verdict = plant.VERDICTS[number % 3]
            journal.write_verdict(record_id, verdict, plant.details())
            journal.write_receipt(record_id, plant.receipt(100 + number, verdict.bin))
    return path


RECIPE_TEXT = "name: strip\nversion: 3\n"
RECIPE_DIGEST = hashlib.sha256(RECIPE_TEXT.encode()).hexdigest()


def test_the_summary_counts_by_lot_over_segments(two_lots: Path) -> None:
    done = station_journal("summary", "--by", "lot", "--json", "-j", str(two_lots))
    first, second, whole = json.loads(done.stdout)
    assert (first["group"], first["accepted"], first["rejected"], first["faulted"]) == ("A", 2, 2, 2)
    assert (second["group"], second["triggers"]) == ("B", 3)
    assert (second["first_part"], second["last_part"]) == (106, 108)
    assert (whole["group"], whole["triggers"], whole["ppm"]) == (None, 9, 500_000)
    assert whole["pareto"] == {"pits": 3}
    assert whole["yield"] == pytest.approx(1 / 3)
    assert (whole["first_part"], whole["last_part"]) == (100, 108)


@pytest.mark.parametrize("by", ["hour", "shift", "day", "recipe", "lot"])
def test_the_summary_is_a_table_or_csv_by_any_of_its_keys(two_lots: Path, by: str) -> None:
    table = station_journal("summary", "--by", by, "-j", str(two_lots))
    assert table.exit_code == 0, table.output
    assert "33.33%" in table.stdout
    as_csv = station_journal("summary", "-b", by, "--csv", "-j", str(two_lots)).stdout
    rows = list(csv.DictReader(io.StringIO(as_csv)))
    assert sum(int(row["triggers"]) for row in rows[:-1]) == int(rows[-1]["triggers"]) == 9
    assert rows[-1]["pareto"] == "pits=3"


def test_a_summary_of_no_time_at_all_is_empty_and_not_an_error(two_lots: Path) -> None:
    done = station_journal("summary", "--since", "2100-01-01", "--json", "-j", str(two_lots))
    assert [group["triggers"] for group in json.loads(done.stdout)] == [0]
    assert station_journal("summary", "--since", "2100-01-01", "-j", str(two_lots)).exit_code == 0


def test_a_recipes_text_is_printed_as_it_was(two_lots: Path) -> None:
    assert "recipe, 2 lines" in station_journal("text", "-j", str(two_lots)).stdout
    assert station_journal("text", RECIPE_DIGEST[:8], "-j", str(two_lots)).stdout == RECIPE_TEXT
    missing = station_journal("text", "ffff", "-j", str(two_lots))
    assert (missing.exit_code, len(missing.stderr.splitlines())) == (2, 1)


def test_the_list_is_filtered_by_lot_over_segments(two_lots: Path) -> None:
    done = station_journal("list", "-j", str(two_lots), "--lot", "A", "-n", "2")
    assert [line.split()[1] for line in done.stdout.splitlines()[1:]] == ["105", "104"]
    assert "2 of 6 records" in done.stderr
    mixed = (
        "list",
        "-j",
        str(two_lots),
        "--lot",
        "B",
        "-o",
        "accept",
        "-o",
        "reject",
        "-o",
        "fault",
        "-n",
        "1",
    )
    assert "1 of 3 records" in station_journal(*mixed, "-n", "1").stderr


def test_show_names_lot_and_serial_number(two_lots: Path) -> None:
    done = station_journal("show", "1", "-j", str(two_lots))
    assert "SN0" in done.stdout
    assert re.search(r"lot +A", done.stdout)


def test_show_and_events_tell_what_was_said_of_a_record_later(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with plant.make(path) as journal:
        journal.write_event("start", {"recipe": "strip"})
        record_id = plant.whole_part(journal, 1, plant.REJECT)
        journal.write_event("picture", {"path": "1.jpg", "sha256": "ab" * 32}, record_id=record_id)
        journal.change_segment()
        journal.write_event("review", {"by": "Ana", "says": "a scratch"}, record_id=record_id)
        plant.whole_part(journal, 2)
    shown = station_journal("show", "1", "-j", str(path)).stdout
    assert "path 1.jpg, sha256 abab" in shown
    assert "by Ana, says a scratch" in shown
    as_json = json.loads(station_journal("show", "1", "--json", "-j", str(path)).stdout)
    assert [event["kind"] for event in as_json["events"]] == ["picture", "review"]
    assert json.loads(station_journal("show", "2", "--json", "-j", str(path)).stdout)["events"] == []
    lines = station_journal("events", "-j", str(path)).stdout.splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["start", "picture", "review"]
    lines = station_journal("events", "-k", "review", "-j", str(path)).stdout.splitlines()
    assert [json.loads(line)["values"]["by"] for line in lines] == ["Ana"]
    lines = station_journal("events", "--after", "0", "-n", "4", "-j", str(path)).stdout.splitlines()
    assert [json.loads(line)["seq"] for line in lines] == [1, 2, 3, 4]


def test_cursors_are_listed_and_deleted(two_lots: Path) -> None:
    advance(open_cursor(two_lots, "telemetry"), 5)
    listed = station_journal("cursors", "--json", "-j", str(two_lots))
    assert json.loads(listed.stdout)["seq"] == 5
    assert "telemetry" in station_journal("cursors", "-j", str(two_lots)).stdout
    assert station_journal("cursors", "--delete", "telemetry", "-j", str(two_lots)).exit_code == 0
    unknown = station_journal("cursors", "--delete", "telemetry", "-j", str(two_lots))
    assert (unknown.exit_code, len(unknown.stderr.splitlines())) == (2, 1)


def test_the_station_says_its_version() -> None:
    from station.cli import app as station

    done = CliRunner().invoke(station, ["--version"])
    assert (done.exit_code, done.stdout.split()[0]) == (0, "inspection-station")


def test_what_is_piped_is_neither_wrapped_nor_cut_on_any_width(two_lots: Path) -> None:
    for command in (("show", "1"), ("list",), ("summary",)):
        narrow = CliRunner(env={"COLUMNS": "40"}).invoke(app, [*command, "-j", str(two_lots)]).stdout
        assert narrow == station_journal(*command, "-j", str(two_lots)).stdout
        assert "…" not in narrow
    assert "e" * 64 in station_journal("show", "1", "-j", str(two_lots)).stdout
