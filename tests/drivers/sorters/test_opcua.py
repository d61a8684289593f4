"""A PLC by OPC UA: nodes, rights, bad writes, and node-opcua-client, which is neither ours nor asyncua's."""

from __future__ import annotations

import contextlib
import gc
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from drivers.sorters import messages as wire
from drivers.sorters.interface import Outcome, Result
from drivers.sorters.opcua import OpcUaSettings, OpcUaSorter
from drivers.sorters.opcua.nodes import STATES
from drivers.sorters.registers import SIZE, Cell, encode
from tests.waiting import PATIENCE_S, wait_for

pytest.importorskip("asyncua")

NODE = Path(__file__).parents[2] / "node"
HANDSHAKE = "VisionSystem/Handshake"


@pytest.fixture(scope="module")
def sorter() -> Iterator[OpcUaSorter]:
    """One server for all tests: it needs seconds to start."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = int(listening.getsockname()[1])
        made = OpcUaSorter(
            OpcUaSettings(listen="127.0.0.1", port=port, ack_timeout_ms=20_000, reopen_max_s=0.1), "station 4"
        )
        made.prepare("housing")
        made.is_simulated = True
        listening.listen()
        made.open()  # while another program has the port
        wait_for(lambda: "tried again" in made.health().last_error)
    wait_for(lambda: "no PLC is connected" in made.health().last_error)
    made.set_ready(True)
    yield made
    made.close()


class Plc:
    """asyncua's own client."""

    def __init__(self, sorter: OpcUaSorter) -> None:
        from asyncua.sync import Client

        self.sorter, self.client = sorter, Client(sorter._place, timeout=10)

    def __enter__(self) -> Plc:
        self.client.connect()
        wait_for(self.sorter._is_up)
        self.own = self.client.get_namespace_index("urn:inspection-station")
        return self

    def __exit__(self, *exception: object) -> None:
        self.client.disconnect()

    def node(self, name: str) -> Any:
        return self.client.get_node(f"ns={self.own};s={name}")

    def write(self, name: str, value: object) -> None:
        from asyncua import ua

        self.node(f"{HANDSHAKE}/{name}").write_value(ua.Variant(value, ua.VariantType.UInt16))


def test_the_collector_of_garbage_never_looks_through_the_nodes_of_the_standard(sorter: OpcUaSorter) -> None:
    # A full round over them holds every thread of the station for 0.3 s.
    assert gc.isenabled()
    assert gc.get_freeze_count() > 300_000
    assert len(gc.get_objects()) < 300_000


def test_a_stranger_who_sends_without_an_end_is_cut_off(sorter: OpcUaSorter) -> None:
    garbled = sorter.health().garbled
    with socket.create_connection(("127.0.0.1", sorter._settings.port)) as stranger:
        stranger.sendall(b"HELF" + (0x7FFF_FFFF).to_bytes(4, "little"))
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            stranger.sendall(bytes(60 << 20))
    wait_for(lambda: sorter.health().garbled == garbled + 1)
    with Plc(sorter) as plc:
        assert len(plc.node(f"{HANDSHAKE}/ToCell/Hello").read_value()) == SIZE


def test_a_plc_finds_a_place_although_dead_connections_have_all_of_them(sorter: OpcUaSorter) -> None:
    # What a PLC leaves behind that lost its power some times, or a stranger who says nothing.
    with contextlib.ExitStack() as dead:
        for _ in range(12):
            dead.enter_context(socket.create_connection(("127.0.0.1", sorter._settings.port)))
        wait_for(lambda: sorter._connections >= 8)
        for _ in range(3):
            with Plc(sorter) as plc:
                assert len(plc.node(f"{HANDSHAKE}/ToCell/Hello").read_value()) == SIZE


def test_results_say_that_their_parts_are_simulated(sorter: OpcUaSorter) -> None:
    with Plc(sorter) as plc:
        assert plc.node("VisionSystem/ResultManagement/Results/Result/IsSimulated").read_value() is True


def test_node_opcua_client_runs_a_part(sorter: OpcUaSorter) -> None:
    if shutil.which("node") is None or not (NODE / "node_modules" / "node-opcua-client").exists():
        pytest.skip("node-opcua-client is not installed: `npm install --prefix tests/node`")
    command = ["node", str(NODE / "opcua_cell.js"), f"{sorter._place}/", "70001"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as cell:
        trigger = sorter.wait_trigger(60.0)
        assert trigger is not None, cell.communicate(timeout=5)
        assert (trigger.part_id, trigger.recipe, trigger.lot) == (70001, "housing", "lot 7")
        sorter.acknowledge(trigger)
        sorter.acquisition_done(trigger)
        sorter.send(Result(70001, Outcome.REJECT, 2, 4, "scratch"))
        receipt = sorter.wait_receipt(PATIENCE_S)
        said, complaints = cell.communicate(timeout=30)
    assert (cell.returncode, complaints) == (0, "")
    assert receipt is not None
    assert receipt.acknowledged
    own = ("browse", "hello", "state", "result", "part", "acknowledged")
    assert [line for line in said.splitlines() if line.startswith(own)] == [
        "browse RecipeManagement ResultManagement VisionStateMachine",
        "hello station 4",
        "state Operational Ready",
        "result 2 bin 2 class 4 scratch bits 40",
        "part 70001",
        "acknowledged",
    ]


def test_the_stations_nodes_may_only_be_read(sorter: OpcUaSorter) -> None:
    from asyncua import ua

    with Plc(sorter) as plc:
        for name in ("ToCell/Result", "Bits"):
            value: object = [1] * SIZE if "/" in name else 48
            with pytest.raises(ua.UaStatusCodeError, match="BadUserAccessDenied"):
                plc.write(name, value)
        with pytest.raises(ua.UaError):
            plc.node("VisionSystem").delete()


@pytest.mark.parametrize("value", [[], [1] * (SIZE - 1), [1] * 5000, 7])
def test_what_is_no_mailbox_is_counted_and_changes_nothing(sorter: OpcUaSorter, value: object) -> None:
    before = sorter.health()
    with Plc(sorter) as plc:
        plc.write("ToStation/ResultAck", value)
        after = sorter.health()
    assert after.garbled == before.garbled + 1
    assert after.received == before.received
    assert "RESULT_ACK" in after.last_error
    assert after.failures == 0


def test_a_mailbox_that_names_another_session_is_not_heard(sorter: OpcUaSorter) -> None:
    before = sorter.health()
    other = sorter._session.link.session % 0xFFFF + 1
    with Plc(sorter) as plc:
        plc.write("ToStation/Trigger", encode(wire.Message(7, other, 5, wire.TriggerBody(1), 3)))
    assert sorter.health().received == before.received
    assert sorter.wait_trigger(0.1) is None


def test_bytes_that_are_no_opc_ua_end_their_connection_and_nothing_else(sorter: OpcUaSorter) -> None:
    for data in (b"GET / HTTP/1.1\r\n\r\n", b"\0" * 64, b"HELF" + b"\xff" * 60):
        with socket.create_connection(("127.0.0.1", sorter._settings.port), timeout=1) as line:
            line.sendall(data)
    with Plc(sorter) as plc:
        assert plc.node(f"{HANDSHAKE}/Bits").read_value() & 1 in (0, 1)
    assert sorter.health().failures == 0


def test_every_state_has_the_name_of_opc_40100() -> None:
    assert set(STATES) == set(wire.EndState)
    assert {vision for vision, _ in STATES.values()} == {"Preoperational", "Operational", "Halted", "Error"}
    assert {sub for _, sub in STATES.values()} == {"", "Initialized", "Ready", "SingleExecution"}
    assert {place.name for place in Cell} == {
        "HELLO", "HEARTBEAT", "TRIGGER", "RESULT_ACK", "JOB_CHANGE", "FAULT",
    }  # fmt: skip


@pytest.mark.parametrize("listen", ["opc.tcp://192.168.0.4:4840", "plc.plant", "*"])
def test_an_address_that_is_none_is_refused(listen: str) -> None:
    with pytest.raises(ValidationError, match="no address"):
        OpcUaSettings(listen=listen)
