"""What every light controller promises, each against a simulated one on a real wire."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from drivers.lights import CONTROLLERS
from drivers.lights.interface import (
    LightConfigError,
    LightController,
    LightError,
    LightLostError,
    LightNotConfirmedError,
    LightRefusedError,
    Output,
)
from simulation.lights import SimulatedLights


@dataclass
class Rig:
    lights: SimulatedLights
    driver: LightController
    wire: str

    def percent(self, channel: int) -> float:
        return self.lights.lamps[channel].percent


EVERY = [
    ("gardasoft", "tcp"),
    ("gardasoft", "udp"),
    ("gardasoft", "serial"),
    ("ccs", "tcp"),
    ("ccs", "serial"),
]


@pytest.fixture(params=EVERY, ids="-".join)
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    protocol, wire = request.param
    with SimulatedLights(protocol, wire) as lights:
        more = {"reply_port": 0} if wire == "udp" else {}
        settings = CONTROLLERS.entry(protocol).settings(address=lights.address, timeout_ms=150, **more)
        with CONTROLLERS.make(settings) as driver:
            yield Rig(lights, driver, wire)


def test_a_lamp_is_set_and_what_the_controller_says_comes_back(rig: Rig) -> None:
    said = rig.driver.set(2, Output(40))
    assert said.percent == pytest.approx(40, abs=rig.driver.percent_step)
    assert rig.percent(2) == pytest.approx(40, abs=rig.driver.percent_step)
    assert rig.percent(1) == 0
    assert rig.driver.read(2) == said
    rig.driver.set(2, Output(0))
    assert rig.percent(2) == 0
    health = rig.driver.health()
    assert health.connected
    assert health.description
    assert (health.lost, health.refused, health.unconfirmed) == (0, 0, 0)


def test_a_controller_that_takes_a_setting_and_keeps_the_old_one_is_not_believed(rig: Rig) -> None:
    rig.driver.set(1, Output(20))
    rig.lights.faults.stuck = True
    with pytest.raises(
        LightNotConfirmedError, match=r"output 1: was set to 60 %.* and says (20|20.01|19.61) %"
    ):
        rig.driver.set(1, Output(60))
    assert rig.driver.health().unconfirmed == 1


def test_a_controller_that_does_not_answer_is_lost_within_its_time_and_found_again(rig: Rig) -> None:
    rig.lights.faults.silent = True
    began = time.monotonic()
    with pytest.raises(LightLostError, match="check the light controller's power and cable"):
        rig.driver.set(1, Output(20))
    assert time.monotonic() - began < 2
    assert not rig.driver.health().connected
    rig.lights.faults.silent = False
    rig.driver.set(1, Output(20))
    assert rig.driver.health().connected
    assert rig.driver.health().lost == 1


def test_a_refusal_has_its_name(rig: Rig) -> None:
    rig.lights.faults.refuses = "1" if "Gardasoft" in str(rig.driver) else "03"
    with pytest.raises(LightRefusedError, match=r"a parameter value is invalid|value out of range"):
        rig.driver.set(1, Output(20))
    assert rig.driver.health().refused == 1
    assert rig.driver.health().connected


def test_a_garbled_answer_lights_no_part(rig: Rig) -> None:
    rig.lights.faults.garbles = True
    wanted = Output(20)
    try:
        said = rig.driver.set(1, wanted)
    except LightError:
        return
    assert said.percent == pytest.approx(rig.percent(1), abs=rig.driver.percent_step)


@pytest.mark.parametrize("rig", [one for one in EVERY if one[1] == "tcp"], ids="-".join, indirect=True)
def test_a_line_that_is_cut_is_opened_again(rig: Rig) -> None:
    rig.lights.faults.hangs_up = True
    with pytest.raises(LightLostError):
        rig.driver.read(1)
    rig.lights.faults.hangs_up = False
    assert rig.driver.read(1).percent == 0


@pytest.mark.parametrize(
    ("channel", "wanted", "words"),
    [
        (9, Output(20), "has outputs 1 to 4, and 9"),
        (0, Output(20), "has outputs 1 to 4"),
        (1, Output(101), "outside 0 to 100"),
        (1, Output(-1), "outside 0 to 100"),
        (1, Output(20, None, 50), "delay without a pulse"),
    ],
)
def test_what_can_never_be_is_refused_before_anything_is_sent(
    rig: Rig, channel: int, wanted: Output, words: str
) -> None:
    before = list(rig.lights.heard)
    with pytest.raises(LightConfigError, match=words):
        rig.driver.set(channel, wanted)
    assert rig.lights.heard == before


def test_a_pulse_is_set_confirmed_and_flashed_or_refused_in_words(rig: Rig) -> None:
    pulse = Output(80, 250, 40)
    if not rig.driver.can_strobe:
        with pytest.raises(LightConfigError, match="set them at the controller"):
            rig.driver.set(3, pulse)
        with pytest.raises(LightConfigError, match="set them at the controller"):
            rig.driver.flash(3)
        return
    assert rig.driver.set(3, pulse) == pulse
    assert rig.lights.lamps[3].pulse_ms == 0.25
    rig.driver.flash(3)
    rig.driver.flash(3)
    assert rig.lights.lamps[3].flashes == 2
    with pytest.raises(LightConfigError, match="lights all the time"):
        rig.driver.flash(1)
    assert rig.driver.set(3, Output(10)) == Output(10)


def test_nobody_there_is_an_error_that_names_the_address() -> None:
    with SimulatedLights("gardasoft") as lights:
        address = lights.address
    settings = CONTROLLERS.entry("gardasoft").settings(address=address, timeout_ms=150)
    with pytest.raises(LightLostError, match=address):
        CONTROLLERS.make(settings).open()
