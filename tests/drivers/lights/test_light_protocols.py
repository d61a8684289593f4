"""Each protocol letter by letter, and settings that cannot be used."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from drivers.lights import CONTROLLERS
from drivers.lights.ccs import CcsController, CcsSettings, checksum
from drivers.lights.gardasoft import GardasoftController, GardasoftSettings
from drivers.lights.interface import LightError, LightLostError, Output
from simulation.lights import LightFaults, SimulatedLights


def test_both_protocols_are_found_by_their_kind() -> None:
    assert list(CONTROLLERS.entries()) == ["ccs", "gardasoft"]
    assert CONTROLLERS.broken == {}


def test_a_gardasoft_hears_the_commands_of_its_manual() -> None:
    with SimulatedLights("gardasoft") as lights:
        with GardasoftController(GardasoftSettings(address=lights.address)) as driver:
            driver.set(1, Output(12.5))
            driver.set(2, Output(90, 300, 1500))
            driver.flash(2)
        assert driver.health().description.startswith("VR\nRT820F-20")
        assert lights.heard == ["VR", "RS1,12.5", "ST1", "RT2,0.300,1.500,90.0", "ST2", "ST2", "TR2"]


def test_a_ccs_hears_commands_as_public_programs_send_them() -> None:
    with SimulatedLights("ccs") as lights:
        with CcsController(CcsSettings(address=lights.address)) as driver:
            driver.set(1, Output(100))
            driver.set(1, Output(0))
        assert lights.heard[1:3] == ["@00F25500E2", "@00L1007D"]  # the second as in a program for a VLP-2410
        assert lights.heard[4:6] == ["@00F00000D6", "@00L0007C"]


def test_the_checksum_is_that_of_the_known_commands() -> None:
    assert checksum("@00L100") == "7D"
    assert checksum("@00L000") == "7C"
    assert checksum("@00F012") == "79"


@pytest.fixture(scope="module")
def ccs() -> Iterator[tuple[SimulatedLights, CcsController]]:
    with SimulatedLights("ccs") as lights, CcsController(CcsSettings(address=lights.address)) as driver:
        yield lights, driver


@given(text=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60))
def test_no_answer_of_a_ccs_but_its_own_is_understood(
    ccs: tuple[SimulatedLights, CcsController], text: str
) -> None:
    lights, driver = ccs
    for answer in (text, f"{text}{checksum(text)}", f"@4{text}{checksum('@4' + text)}"):
        lights.faults.says = f"{answer}\r\n"
        if re.fullmatch(r"@40.[0-9A-F]{4}", answer) is None:
            with pytest.raises(LightError):
                driver.read(1)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "CH 1, MD 0",
        "CH 1, S40.0%",
        "CH 1, MD 3, S40.0%",
        "CH 2, MD 0, S40.0%",
        "CH 1, MD 1, S40.0%, PU 1.0ms",
    ],
)
def test_no_half_answer_of_a_gardasoft_is_understood(answer: str) -> None:
    with (
        SimulatedLights("gardasoft") as lights,
        GardasoftController(GardasoftSettings(address=lights.address)) as driver,
    ):
        lights.faults.says = f"ST1\n{answer}\n>"
        with pytest.raises(LightLostError, match="cannot be understood"):
            driver.read(1)


def test_a_gardasoft_that_hung_up_on_an_idle_line_is_asked_again_and_no_question_is_lost() -> None:
    with (
        SimulatedLights("gardasoft", faults=LightFaults(idle_s=0.03)) as lights,
        GardasoftController(GardasoftSettings(address=lights.address)) as driver,
    ):
        time.sleep(0.1)
        assert driver.read(1).percent == 0
        assert driver.health().lost == 0


@pytest.mark.parametrize(
    ("settings", "given", "words"),
    [
        (GardasoftSettings, {"address": "tcp://controller:30313"}, "address as a number"),
        (GardasoftSettings, {"address": "tcp://10.0.0.1"}, "cannot be used"),
        (GardasoftSettings, {"address": "http://10.0.0.1:80"}, "cannot be used"),
        (GardasoftSettings, {"address": "tcp://10.0.0.1:30313", "baud": 9600}, "not used on a network"),
        (GardasoftSettings, {"address": "tcp://10.0.0.1:30313", "reply_port": 1}, "udp"),
        (CcsSettings, {"address": "tcp://10.0.0.1:40001", "channels": 0}, "channels"),
        (CcsSettings, {"address": "tcp://10.0.0.1:40001", "strobe": True}, "strobe"),
        (CcsSettings, {}, "address"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_by_key(settings, given, words) -> None:
    with pytest.raises(ValidationError) as refused:
        settings(**given)
    assert any(
        words in str(part) for error in refused.value.errors() for part in (error, error.get("ctx", {}))
    )
