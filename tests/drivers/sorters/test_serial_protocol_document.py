"""docs/serial-protocol.md says what the code does: bytes, offsets, codes and times."""

from __future__ import annotations

import re
from enum import IntEnum
from pathlib import Path

import pytest

from drivers.sorters.handshake import HandshakeSettings
from drivers.sorters.messages import JobCode
from drivers.sorters.serial import explain as serial_explain
from drivers.sorters.serial import frames as wire
from drivers.sorters.serial import lines
from simulation.cell.protocol import CellRules
from station.config import Limits

TEXT = (Path(__file__).parents[3] / "docs" / "serial-protocol.md").read_text(encoding="utf-8")
SECTIONS = {
    match[1]: match[3]
    for match in re.finditer(r"^### ([A-Z-]+) \(0x([0-9A-F]{2})\).*?$(.*?)(?=^##)", TEXT, re.M | re.S)
}
CODES: dict[wire.Type, dict[str, type[IntEnum]]] = {
    wire.Type.HELLO: {"role": wire.Role},
    wire.Type.HEARTBEAT: {"state": wire.EndState},
    wire.Type.TRIGGER_REFUSED: {"refusal": wire.RefusalCode},
    wire.Type.JOB_ANSWER: {"status": JobCode},
    wire.Type.RESULT: {"outcome": wire.WireOutcome},
    wire.Type.RESULT_ACK: {"status": wire.Sorted},
    wire.Type.FAULT: {"code": wire.FaultCode},
}


def fields(kind: wire.Type) -> list[tuple[int, str, str, str]]:
    rows = re.findall(
        r"^\| (\d+) \| ([\d.]+) \| (.*?) \| ?(.*?) ?\|$", SECTIONS[kind.name.replace("_", "-")], re.M
    )
    return [(int(offset), size, name, meaning) for offset, size, name, meaning in rows]


def test_the_worked_part_is_what_the_encoder_makes(capsys: pytest.CaptureFixture[str]) -> None:
    serial_explain.main([])
    assert capsys.readouterr().out.strip() in TEXT


def test_the_worked_lines_and_the_example_of_the_checksum_are_what_the_code_makes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    serial_explain.main(["--lines"])
    assert capsys.readouterr().out.strip() in TEXT
    assert f"`123456789` gives {lines.checksum('123456789')}" in TEXT
    assert f"MOD {lines.MODULUS}" in TEXT


def test_the_worked_bytes_in_the_document_are_read_back_as_the_worked_part() -> None:
    lines = re.findall(r"^    (02 (?:[0-9A-F]{2} )*03)$", TEXT, re.M)
    data = bytes.fromhex("".join(lines))
    assert wire.Decoder().feed(data) == [message for _, message in serial_explain.worked_part()]


def test_the_crc_examples_are_right() -> None:
    assert f"{wire.crc32(b'123456789'):08X}" == "CBF43926"
    assert "CBF43926" in TEXT
    content, crc = re.findall(
        r"`((?:[0-9A-F]{2} )+[0-9A-F]{2})` \(the first.*?gives ([0-9A-F]{8})", TEXT, re.S
    )[0]
    assert f"{wire.crc32(bytes.fromhex(content)):08X}" == crc


@pytest.mark.parametrize("kind", wire.Type)
def test_every_message_stands_in_the_document_with_its_code_offsets_and_text(kind: wire.Type) -> None:
    assert re.search(rf"^### {kind.name.replace('_', '-')} \(0x{kind:02X}\)", TEXT, re.M)
    expected = 0
    rows = fields(kind)
    for offset, size, _, _ in rows:
        assert offset == expected
        expected += int(size) if size.isdigit() else 0
    assert expected == wire._FIXED[kind].size
    texts = [size for _, size, _, _ in rows if not size.isdigit()]
    assert texts == ([f"0..{wire._TEXT[kind]}"] if wire._TEXT[kind] else [])


@pytest.mark.parametrize("kind", CODES)
def test_every_code_stands_in_the_document(kind: wire.Type) -> None:
    meanings = {name: meaning for _, _, name, meaning in fields(kind)}
    for name, codes in CODES[kind].items():
        said = re.findall(r"(?<!\d)(\d) ([a-z ]+)", meanings[name])
        numbers = {int(number) for number, _ in said} - {0 if codes is not wire.EndState else 99}
        assert numbers == {int(code) for code in codes}


def test_the_times_are_the_defaults_of_both_ends() -> None:
    station, cell = HandshakeSettings(), CellRules()
    rows = dict(
        re.findall(r"^\| ([A-Z][^|]*?|silence[^|]*?|part's[^|]*?|pause[^|]*?) \| (\d+) ms \|", TEXT, re.M)
    )
    assert int(rows["HEARTBEAT, HELLO"]) == station.heartbeat_ms == cell.heartbeat_ms
    assert int(rows["silence until the link is down"]) == station.link_timeout_ms == cell.link_timeout_ms
    assert int(rows["TRIGGER repeated"]) == cell.resend_ms
    assert int(rows["RESULT repeated"]) == station.resend_ms
    assert int(rows["RESULT given up"]) == station.ack_timeout_ms
    assert int(rows["part's time, TRIGGER to RESULT"]) == cell.verdict_ms
    assert int(rows["pause after a refusal"]) == cell.retrigger_ms
    assert f"At most {station.max_in_hand} parts are in hand" in TEXT
    assert f"The last {station.memory} triggers are remembered" in TEXT


def test_the_cell_waits_longer_than_the_station_may_take_and_lists_are_numbered_in_order() -> None:
    deadline = Limits().part_deadline_ms
    assert f"`limits.part_deadline_ms` ({deadline:g} ms)" in TEXT
    assert CellRules().verdict_ms >= deadline + 4 * HandshakeSettings().resend_ms
    before = 0
    for line in TEXT.splitlines():
        number = re.match(r"(\d+)\. ", line)
        if line.startswith("#"):
            before = 0
        elif number is not None:
            assert int(number[1]) == before + 1, line
            before += 1


def test_bytes_from_a_line_monitor_are_explained(capsys: pytest.CaptureFixture[str]) -> None:
    frame = wire.encode(serial_explain.worked_part()[4][1])
    assert serial_explain.main(frame.hex(" ").split()) == 0
    said = capsys.readouterr().out
    assert "TRIGGER" in said
    assert "part_id=1001" in said
    assert serial_explain.main(["02", "01", "03"]) == 1
    assert "1 broken messages" in capsys.readouterr().out
    assert serial_explain.main(["zz"]) == 1
