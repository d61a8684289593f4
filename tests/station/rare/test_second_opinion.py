"""A second engine's verdict on a part: written down, never sent, and heard by the log of rare parts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from typer.testing import CliRunner

from station.cli import app
from station.config import ConfigError, load_config
from station.engines.interface import Engine, EngineError, EngineInfo, Scores
from station.journal.audit import audit
from station.journal.reading import JournalReader
from station.observers import ObserverError, Observers
from station.rare.second_opinion import SecondOpinion
from tests.station.conftest import ScriptedEngine
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from station.prepared import Prepared
    from tests.station.conftest import Plant
    from tests.station.rare.conftest import Bench


ROOT = Path(__file__).parents[3]


class Doubtful(Engine):
    """Says pits of every first patch."""

    def __init__(self, p: float = 0.7, precision: str = "fp32", digit: str = "e") -> None:
        classes = ("good", "scratches", "pits")
        self.info = EngineInfo("scripted", digit * 64, "scripted", precision, "none", classes, 32, 1, 0)
        self._p = p
        self.closed = 0

    def scores(self, patches: NDArray[np.uint8], timeout_s: float | None = None) -> Scores:
        table = np.tile(np.array([0.98, 0.01, 0.01], np.float32), (len(patches), 1))
        table[0] = ((1 - self._p) / 2, (1 - self._p) / 2, self._p)
        return Scores(table)

    def close(self) -> None:
        self.closed += 1


def opinions(bench: Bench) -> list[dict[str, object]]:
    with JournalReader(bench.journal.path) as reader:
        return [event.values for event in reader.station_events(("opinion",))]


def test_a_part_on_which_engines_disagree_is_kept_with_both_verdicts_and_outranks_a_rare_class(
    bench: Bench,
) -> None:
    log, second = bench.log(class_items=5), SecondOpinion(bench.journal, lambda prepared: Doubtful(), 1.0)
    accepted, rejected = bench.part("good", p=0.99), bench.part("pits", p=0.99)
    for part in (accepted, rejected):
        log.observe(part)
        second.observe(part)
    log.close()
    assert bench.kept() == {accepted.part_id: ["engines disagree"], rejected.part_id: ["rare class"]}
    best, other = (entry.item for entry in bench.store.entries())
    assert best.whys[0].text == "scripted on scripted fp32 says pits 0.700; the station said good"
    assert best.worth > other.worth
    assert best.class_name == "good", "the station's verdict stays what it was"
    assert [said["agrees"] for said in opinions(bench)] == [False, True]
    assert "2 judged a second time, 1 differently" in second.note
    assert audit(bench.journal.path).passed


def test_an_opinion_on_a_kept_part_adds_its_reason_and_makes_no_second_item(bench: Bench) -> None:
    log, second = bench.log(), SecondOpinion(bench.journal, lambda prepared: Doubtful(), 1.0)
    part = bench.part("good", p=0.6)
    log.observe(part)
    second.observe(part)
    log.close()
    assert bench.kept() == {part.part_id: ["engines disagree", "low confidence"]}


def test_an_opinion_that_is_there_before_the_log_has_seen_the_part_waits_for_it(bench: Bench) -> None:
    log, second = bench.log(remember=2), SecondOpinion(bench.journal, lambda prepared: Doubtful(), 1.0)
    log.observe(bench.part())
    before, part = bench.part(), bench.part()
    second.observe(part)
    log.observe(before)  # looks at the journal, where the part is spoken of that comes now
    log.observe(before)
    log.observe(part)
    log.close()
    assert "too late" not in log.note
    assert bench.kept() == {part.part_id: ["engines disagree"]}


def test_an_opinion_on_a_part_whose_picture_is_gone_is_counted(bench: Bench) -> None:
    log, second = bench.log(remember=1), SecondOpinion(bench.journal, lambda prepared: Doubtful(), 1.0)
    part = bench.part()
    for one in (part, bench.part(), bench.part()):
        log.observe(one)
    second.observe(part)
    log.close()
    assert "1 judged again too late" in log.note


def test_at_the_pace_of_a_fast_line_opinions_are_heard_before_the_pictures_are_forgotten(
    bench: Bench,
) -> None:
    log, second = (
        bench.log(remember=6, same_below=0.0),
        SecondOpinion(bench.journal, lambda prepared: Doubtful(), 1.0),
    )
    for _ in range(40):
        part = bench.part()
        log.observe(part)
        second.observe(part)
    log.close()
    assert len(bench.kept()) == 40


def test_a_share_of_the_parts_is_judged_drawn_by_the_records_number(bench: Bench) -> None:
    second = SecondOpinion(bench.journal, lambda prepared: Doubtful(), 0.3)
    parts = [bench.part() for _ in range(200)]
    wanted = [part.part_id for part in parts if second.wants(part)]
    again = SecondOpinion(bench.journal, lambda prepared: Doubtful(), 0.3)
    assert wanted == [part.part_id for part in parts if again.wants(part)]
    assert 30 < len(wanted) < 90


def test_the_engine_of_the_line_is_no_second_voice(bench: Bench) -> None:
    opened = []

    def open_engine(prepared: Prepared) -> Engine:
        opened.append(Doubtful(digit="a"))
        return opened[-1]

    second, part = SecondOpinion(bench.journal, open_engine, 1.0), bench.part()
    for _ in range(3):
        with pytest.raises(ObserverError, match="the line itself uses scripted on scripted fp32"):
            second.observe(part)
    assert [engine.closed for engine in opened] == [1], "it is not opened again for each part"
    assert opinions(bench) == []


def test_a_second_engine_that_cannot_be_opened_is_shown_and_tried_again_after_a_changeover(
    bench: Bench,
) -> None:
    def open_engine(prepared: Prepared) -> Engine:
        if prepared.engine.info.digest[0] == "a":
            raise EngineError("no such back end here")
        return Doubtful()

    second = SecondOpinion(bench.journal, open_engine, 1.0)
    with pytest.raises(EngineError, match="no such back end"):
        second.observe(bench.part())
    second.observe(bench.part(engine="b"))
    assert len(opinions(bench)) == 1


def test_the_cell_never_hears_of_a_second_opinion_and_the_record_stays(plant: Plant) -> None:
    against = ScriptedEngine("1")
    against.script = [np.array([[0.1, 0.9], [0.9, 0.1]], np.float32)] * 5
    with Observers([SecondOpinion(plant.journal, lambda prepared: against, 1.0)]) as observers:
        line = plant.line(observers)
        plant.sorter.ask(*range(1, 6))
        line.start(parts=5)
        assert line.wait(PATIENCE_S)
        line.stop()
    assert {str(outcome) for outcome in plant.outcomes().values()} == {"accept"}
    assert len(plant.sorter.told) == 5
    assert {record.outcome for record in plant.records().values()} == {"accept"}
    with JournalReader(plant.journal.path) as reader:
        said = list(reader.station_events(("opinion",)))
    assert said
    assert all(event.values["class_name"] == "scratches" for event in said)
    assert all(event.values["verdict"] == "defect-free" for event in said)
    assert against.closed == 1


def test_the_journal_shows_a_second_opinion_beside_its_record(bench: Bench) -> None:
    second, part = SecondOpinion(bench.journal, lambda prepared: Doubtful(), 1.0), bench.part()
    second.observe(part)
    shown = CliRunner().invoke(
        app, ["journal", "show", str(part.part.record_id), "--journal", str(bench.journal.path)]
    )
    assert shown.exit_code == 0
    assert "opinion" in shown.output
    assert "pits" in shown.output


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("precision: int8, share: 0.1", "rare.second_opinion.precision"),
        ("precision: fp32, share: 0", "rare.second_opinion.share"),
        ("precision: fp32, share: 2", "rare.second_opinion.share"),
    ],
)
def test_a_second_opinion_that_could_never_differ_or_never_judge_is_refused(
    tmp_path: Path, lines: str, said: str
) -> None:
    text = (ROOT / "config" / "demo.yaml").read_text().replace("../", f"{tmp_path}/")
    text = text.replace("backend: auto\n  precision: auto", "backend: openvino\n  precision: int8")
    text = text.replace("\nrare:\n", f"\nrare:\n  second_opinion: {{backend: openvino, {lines}}}\n")
    file = tmp_path / "station.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_config(file)
