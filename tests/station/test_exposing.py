"""A part of several frames gets exactly its own, one under each lamp, or is a fault that says which."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from drivers.cameras.interface import Frame
from drivers.cameras.settings import Mode
from drivers.lights.interface import LightConfigError
from station.acquisition import Acquisition, NoFrameError
from station.exposing import Exposing, Triggers
from station.faults import code_of
from station.lighting import Lighting
from station.recipe import Recipe, load_recipe
from station.supervision import Readiness
from tests.station.conftest import RECIPE, ScriptedCamera, ScriptedSorter
from tests.station.lamps import LAMPS, OUTPUTS, MemoryLights, SeeingCamera, calling, lit_recipe

WRONG = (
    "no exposure", "lost", "one lost before", "stray before", "stray after", "incomplete", "twice", "late",
)  # fmt: skip
LIGHTS = ("refuses", "is stuck", "is silent")
BETWEEN = ("stray", "lamp of somebody else", "trigger of the next part", "part taken away")
"""What happens between two exposures, while lamps are switched."""


class Rig:
    """Camera, lamps and cell, and a part's frames as the line takes them."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.lights = MemoryLights()
        self.camera = SeeingCamera(self.lights)
        self.sorter = ScriptedSorter(patient=False)
        acquisition = Acquisition(self.camera, Readiness(lambda ready, reason: None), 0.01, (0.01,))
        self.triggers = Triggers(self.sorter)
        lighting = Lighting(self.lights)
        self.exposing = Exposing(acquisition, self.triggers, lighting, 5.0, calling)
        self.exposing.begin(recipe)

    def frames(self, part: int, between: Callable[[int], None] = lambda seen: None) -> list[Frame]:
        """Raises NoFrameError, as the line would fault the part."""
        self.camera.part = part
        seen: list[Frame] = []
        try:
            self.exposing.prepare(self.recipe)
            for frame in self.exposing.frames(self.recipe, time.monotonic_ns()):
                seen.append(frame)
                between(len(seen))
        finally:
            self.exposing.rest(self.recipe)
        return seen

    def fault(self, part: int, between: Callable[[int], None] = lambda seen: None) -> str:
        with pytest.raises(NoFrameError) as caught:
            self.frames(part, between)
        return str(caught.value)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(lit_recipe(tmp_path))


def own(part: int) -> list[str]:
    return [f"{part}/{output}" for output in OUTPUTS]


def test_each_frame_shows_the_part_under_its_lamp_and_no_other(rig: Rig) -> None:
    assert [frame.source for frame in rig.frames(7)] == own(7)
    assert [frame.source for frame in rig.frames(8)] == own(8)


def test_lamps_are_dark_before_the_first_part_and_between_parts(rig: Rig) -> None:
    assert rig.lights.lit == ()
    rig.frames(7, lambda seen: rig.lights.lit == (OUTPUTS[seen - 1],) or pytest.fail("another lamp"))
    assert rig.lights.lit == ()


def test_each_lamp_is_as_bright_as_the_recipe_says(rig: Rig) -> None:
    seen: list[float] = []
    rig.frames(7, lambda number: seen.append(rig.lights.percent[OUTPUTS[number - 1]]))
    assert seen == [100, 80, 100]


def test_a_lamp_that_somebody_else_has_lit_is_switched_off_before_the_exposure(rig: Rig) -> None:
    rig.lights.percent[3] = 50
    assert [frame.source for frame in rig.frames(7)] == own(7)


def test_a_recipe_of_one_frame_asks_for_no_lamp_and_changes_none(tmp_path: Path) -> None:
    file = tmp_path / "strip.yaml"
    file.write_text(RECIPE)
    rig = Rig(load_recipe(file))
    rig.lights.percent[3], rig.lights.fault = 50, "is silent"
    assert [frame.source for frame in rig.frames(7)] == ["7/3"]
    rig.exposing.close()
    assert rig.lights.lit == (3,)
    assert not rig.lights.health().asked


@pytest.mark.parametrize("at", range(LAMPS))
@pytest.mark.parametrize("wrong", WRONG)
def test_what_goes_wrong_at_one_exposure_faults_the_part_and_not_the_next(
    rig: Rig, wrong: str, at: int
) -> None:
    rig.camera.wrong.extend([""] * at + [wrong])
    said = rig.fault(7)
    assert f"frame {at + 1} of {LAMPS} (the lamp at output {OUTPUTS[at]})" in said
    assert code_of(said) is not None
    assert [frame.source for frame in rig.frames(8)] == own(8)


@pytest.mark.parametrize("at", range(LAMPS))
@pytest.mark.parametrize("fault", LIGHTS)
def test_a_lamp_that_is_not_confirmed_faults_the_part_by_name(rig: Rig, fault: str, at: int) -> None:
    def breaks(seen: int) -> None:
        rig.lights.fault = fault if seen == at else ""

    breaks(0)
    said = rig.fault(7, breaks)
    assert said.startswith(f"F110 frame {at + 1} of {LAMPS} (the lamp at output {OUTPUTS[at]}): ")
    rig.lights.fault = ""
    assert [frame.source for frame in rig.frames(8)] == own(8)


def test_a_frame_between_two_exposures_faults_the_part(rig: Rig) -> None:
    said = rig.fault(7, lambda seen: rig.camera.stray() if seen == 1 else None)
    assert said.startswith(f"F104 frame 2 of {LAMPS}")
    assert "nobody asked for it" in said


def test_what_is_exposed_while_the_first_lamp_is_lit_is_nobodys(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    only = Lighting.only

    def with_a_stray(lighting: Lighting, *given: object) -> None:
        only(lighting, *given)  # type: ignore[arg-type]
        rig.camera.stray()

    monkeypatch.setattr(Lighting, "only", with_a_stray)
    rig.camera.part = 6
    rig.exposing.prepare(rig.recipe)
    monkeypatch.undo()
    rig.camera.part = 7
    assert [frame.source for frame in rig.exposing.frames(rig.recipe, time.monotonic_ns())] == own(7)


def test_the_next_parts_trigger_between_two_exposures_faults_the_part_and_is_not_lost(rig: Rig) -> None:
    said = rig.fault(7, lambda seen: rig.sorter.ask(8) if seen == 1 else None)
    assert said.startswith(f"F108 frame 2 of {LAMPS}")
    trigger = rig.triggers.next(0)
    assert trigger is not None
    assert trigger.part_id == 8


def test_an_exposure_after_the_time_in_place_faults_the_part(rig: Rig) -> None:
    rig.camera.part = 7
    rig.exposing.prepare(rig.recipe)
    with pytest.raises(NoFrameError, match=r"F107 frame 1 of 3 .*limits\.in_place_ms"):
        list(rig.exposing.frames(rig.recipe, time.monotonic_ns() - 6_000_000_000))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(
    parts=st.lists(
        st.tuples(
            st.lists(st.sampled_from(("", *WRONG)), min_size=LAMPS, max_size=LAMPS),
            st.lists(st.sampled_from(("", "", *BETWEEN, *LIGHTS)), min_size=LAMPS, max_size=LAMPS),
        ),
        min_size=1,
        max_size=5,
    )
)
@example(parts=[(["", "", ""], ["", "", "stray"]), (["", "", ""], ["", "", ""])])
@example(parts=[(["", "", "late"], ["", "", ""]), (["", "", ""], ["", "", ""])])
def test_whatever_happens_no_part_gets_frames_that_are_not_exactly_its_own(
    tmp_path: Path, parts: list[tuple[list[str], list[str]]]
) -> None:
    """And a part to which nothing happens gets all of them, whatever happened to the one before."""
    rig = Rig(lit_recipe(tmp_path))
    for number, (wrong, between) in enumerate(parts, start=1):
        rig.lights.fault = ""
        rig.camera.wrong.clear()
        rig.camera.wrong.extend(wrong)

        def meanwhile(seen: int, what: list[str] = between) -> None:
            now = what[seen - 1]
            rig.lights.fault = now if now in LIGHTS else rig.lights.fault
            if now == "stray":
                rig.camera.stray()
            elif now == "lamp of somebody else":
                rig.lights.percent[3] = 50
            elif now == "trigger of the next part":
                rig.sorter.ask(99)
            elif now == "part taken away":  # and the cell says so, as it must
                rig.sorter.ask(99)
                rig.camera.part = 0

        frames: list[Frame] | None = None
        with suppress(NoFrameError):
            frames = rig.frames(number, meanwhile)
        if frames is None:
            assert any(wrong) or any(between)
        else:
            assert [frame.source for frame in frames] == own(number)
            assert all(frame.complete and not frame.lost_before for frame in frames)
        while rig.triggers.next(0) is not None:
            pass


def test_a_recipe_whose_lamps_cannot_be_lit_here_is_refused_by_name(tmp_path: Path) -> None:
    lit, camera = lit_recipe(tmp_path), ScriptedCamera()
    cases = (
        (None, False, Mode.CELL, "name the light controller"),
        (Lighting(MemoryLights()), True, Mode.CELL, "exposed by wire"),
        (Lighting(MemoryLights()), False, Mode.FREE_RUNNING, "free-running"),
    )
    for lighting, wired, mode, says in cases:
        camera.wired = wired
        acquisition = Acquisition(camera, Readiness(lambda ready, reason: None), 0.01, (0.01,))
        exposing = Exposing(acquisition, Triggers(ScriptedSorter()), lighting, 5.0, calling)
        with pytest.raises(LightConfigError, match=f"recipe lit lights a part by 3 lamps, and .*{says}"):
            exposing.require_fits(lit, mode)
