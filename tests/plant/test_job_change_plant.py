"""A cell that changes over by itself: it asks a whole station for other recipes, over the wire."""

from __future__ import annotations

import json
from typing import Any

from drivers.sorters.messages import EndState, JobCode
from drivers.sorters.serial import frames
from simulation.cell.live import SerialCell
from simulation.cell.protocol import CellRules


def test_a_cell_asks_for_recipes_and_no_part_is_judged_by_another_one(small_plant: Any) -> None:
    folder = small_plant.folder
    tiny = (folder / "recipes" / "tiny.yaml").read_text()
    (folder / "recipes" / "second.yaml").write_text(tiny.replace("name: tiny", "name: second"))
    config = folder / "station.yaml"
    config.write_text(config.read_text().replace("./cell.pty", "./robot"))
    cell = SerialCell(folder, 7, CellRules(good_bin=1, reject_bin=9), frames).start()
    station = small_plant.start_station()
    try:
        cell.wait(lambda protocol: protocol.station_ready, within_s=60)
        cell.place(1, lot="4711-B")
        cell.sorted(1)
        cell.ask_job("second")
        cell.place(2)
        cell.wait(lambda protocol: protocol.job is not None and protocol.job.is_over, within_s=60)
        cell.sorted(2)
        cell.ask_job("third")
        cell.place(3)
        cell.wait(lambda protocol: protocol.job is not None and protocol.job.is_over, within_s=60)
        cell.wait(lambda protocol: protocol.station_state is EndState.INITIALIZED)
        with cell.lock:
            refused = cell.protocol.job
            assert refused is not None
            assert refused.status is JobCode.REFUSED
            assert refused.reason.startswith("third cannot be prepared")
            assert 3 in cell.protocol.waiting, "no recipe is prepared for it"
        shown = small_plant.station_command("status", "--json", "--config", str(config))
        assert json.loads(shown.stdout)["state"] == "initialized"
        done = small_plant.station_command("activate", "tiny", "--config", str(config))
        assert done.returncode != 0, "an engine for the recipe of before would judge the parts of another"
        assert "no recipe is prepared" in done.stderr
        cell.ask_job("tiny")
        cell.sorted(3)
    finally:
        code, out = small_plant.stop_station(station)
        cell.end()
    assert code == 0, out
    records = small_plant.records()
    assert {part: record["recipe"] for part, record in records.items()} == {1: "tiny", 2: "second", 3: "tiny"}
    assert records[1]["lot"] == "4711-B"
    assert not records[2]["lot"]
