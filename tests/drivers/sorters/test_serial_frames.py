"""The wire format: round trips, and what becomes of everything that is no intact frame."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.sorters import messages
from drivers.sorters.serial import frames as wire

U8, U16, U32 = st.integers(0, 2**8 - 1), st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1)
PRINTABLE = st.characters(min_codepoint=32, max_codepoint=126)
REASON, NAME = st.text(PRINTABLE, max_size=64), st.text(PRINTABLE, max_size=32)
BODIES = st.one_of(
    st.builds(wire.Hello, st.sampled_from(wire.Role), NAME),
    st.builds(wire.Heartbeat, st.booleans(), st.sampled_from(wire.EndState), REASON),
    st.builds(wire.TriggerBody, U32, NAME.map(lambda name: name.replace(";", "")), NAME),
    st.builds(wire.TriggerAck, U32, U32),
    st.builds(wire.TriggerRefused, U32, U32, st.sampled_from(wire.RefusalCode), REASON),
    st.builds(wire.ResultBody, U32, U32, st.sampled_from(wire.WireOutcome), U8, U8, REASON),
    st.builds(wire.ResultAck, U32, U32, st.sampled_from(wire.Sorted), U8),
    st.builds(wire.Fault, st.sampled_from(wire.FaultCode), REASON),
    st.builds(wire.AcquisitionDone, U32, U32),
    st.builds(messages.JobBody, NAME),
    st.builds(messages.JobAnswer, U32, st.sampled_from(messages.JobCode), REASON),
)
MESSAGES = st.builds(wire.Message, U16, U16, U32, BODIES, st.sampled_from((1, 2, 3))).map(
    lambda message: replace(message, version=max(message.version, messages.first_version(message.body)))
)
A_RESULT = wire.Message(9, 7, 4, wire.ResultBody(3, 1001, wire.WireOutcome.ACCEPT, 0, 0, "defect-free"))


@given(st.lists(MESSAGES, max_size=5), st.lists(st.integers(1, 40), max_size=20))
def test_messages_survive_the_wire_in_pieces_of_any_size(
    messages: list[wire.Message], cuts: list[int]
) -> None:
    data = b"".join(wire.encode(m) for m in messages)
    decoder = wire.Decoder()
    received = []
    for cut in cuts:
        received += decoder.feed(data[:cut])
        data = data[cut:]
    received += decoder.feed(data)
    assert received == messages
    assert (decoder.garbled, decoder.noise) == (0, 0)


@given(st.binary(max_size=300), MESSAGES)
def test_a_message_behind_any_garbage_arrives(garbage: bytes, message: wire.Message) -> None:
    assert wire.Decoder().feed(garbage + wire.encode(message)) == [message]


@given(MESSAGES, MESSAGES, st.data())
def test_a_truncated_message_is_dropped_and_the_next_one_arrives(
    first: wire.Message, second: wire.Message, data: st.DataObject
) -> None:
    frame = wire.encode(first)
    cut = frame[: data.draw(st.integers(1, len(frame) - 1))]
    decoder = wire.Decoder()
    assert decoder.feed(cut + wire.encode(second)) == [second]
    assert decoder.garbled == 1


@given(MESSAGES, MESSAGES, st.data())
def test_flipped_bits_never_make_another_message(
    first: wire.Message, second: wire.Message, data: st.DataObject
) -> None:
    frame = bytearray(wire.encode(first))
    flips = data.draw(
        st.lists(st.tuples(st.integers(0, len(frame) - 1), st.integers(0, 7)), min_size=1, max_size=6)
    )
    for where, bit in flips:
        frame[where] ^= 1 << bit
    received = wire.Decoder().feed(bytes(frame) + wire.encode(second))
    assert received[-1] == second
    assert received[:-1] in ([], [first])  # the flips may have cancelled each other


@given(MESSAGES)
def test_the_start_byte_occurs_only_at_the_start(message: wire.Message) -> None:
    frame = wire.encode(message)
    assert frame.count(wire.STX) == 1
    assert frame.count(wire.ETX) == 1
    assert frame[0] == wire.STX
    assert frame[-1] == wire.ETX


def test_an_endless_frame_is_dropped_before_it_fills_the_memory() -> None:
    decoder = wire.Decoder()
    assert decoder.feed(b"\x02" + b"A" * 100_000) == []
    assert decoder.garbled == 1
    assert decoder.feed(wire.encode(A_RESULT)) == [A_RESULT]


def altered(message: wire.Message, where: int, value: int) -> bytes:
    """The frame of ``message`` with one byte of its content replaced and a matching CRC."""
    frame = wire.encode(message)[1:-1]
    content = bytearray()
    escaped = False
    for byte in frame:
        if byte == wire.DLE:
            escaped = True
        else:
            content.append(byte ^ wire.ESCAPE_XOR if escaped else byte)
            escaped = False
    content[where] = value
    body = bytes(content[:-4])
    data = body + wire.crc32(body).to_bytes(4, "big")
    special = (wire.STX, wire.ETX, wire.DLE)
    stuffed = b"".join(bytes((wire.DLE, b ^ 0x20)) if b in special else bytes((b,)) for b in data)
    return b"\x02" + stuffed + b"\x03"


def test_a_frame_of_another_version_is_named_and_not_read() -> None:
    decoder = wire.Decoder()
    assert decoder.feed(altered(A_RESULT, 0, 9)) == []
    assert decoder.other_version == 9


@pytest.mark.parametrize(
    ("where", "value"),
    [(11 + 8, 0), (11 + 8, 4), (10, 21), (1, 0x7F), (11 + 12, 0x07)],
    ids=["outcome 0", "outcome 4", "length", "type", "text"],
)
def test_an_intact_frame_with_a_senseless_field_is_no_message(where: int, value: int) -> None:
    decoder = wire.Decoder()
    assert decoder.feed(altered(A_RESULT, where, value)) == []
    assert decoder.garbled == 1


@pytest.mark.parametrize(
    "message",
    [
        wire.Message(70_000, 0, 1, wire.Fault(wire.FaultCode.DEVICE)),
        wire.Message(1, 0, 1, wire.TriggerBody(2**32)),
        wire.Message(1, 0, 1, wire.TriggerBody(1, "x" * 33)),
        wire.Message(1, 0, 1, wire.TriggerBody(1, "x;y"), 3),
        wire.Message(1, 0, 1, wire.TriggerBody(1, "x", "y" * 33), 3),
        wire.Message(1, 0, 1, wire.Fault(wire.FaultCode.DEVICE, "naïve")),
        wire.Message(1, 0, 1, wire.ResultBody(1, 1, wire.WireOutcome.REJECT, 256, 0)),
    ],
)
def test_a_field_out_of_range_is_refused_by_the_encoder(message: wire.Message) -> None:
    with pytest.raises(wire.FrameError):
        wire.encode(message)


@given(st.text(max_size=200))
def test_any_text_can_be_made_plain_enough_for_the_wire(text: str) -> None:
    wire.encode(wire.Message(1, 0, 1, wire.Fault(wire.FaultCode.DEVICE, messages.plain_text(text))))


def test_an_end_that_speaks_version_1_names_a_frame_of_version_2_and_does_not_read_it() -> None:
    decoder = wire.Decoder(newest=1)
    assert decoder.feed(wire.encode(wire.Message(9, 7, 4, wire.AcquisitionDone(3, 1001), 2))) == []
    assert decoder.other_version == 2


def test_a_message_that_version_1_does_not_have_is_neither_sent_nor_read_in_it() -> None:
    with pytest.raises(wire.FrameError, match="version 1 has no ACQUISITION_DONE"):
        wire.encode(wire.Message(9, 7, 4, wire.AcquisitionDone(3, 1001)))
    decoder = wire.Decoder()
    assert decoder.feed(altered(wire.Message(9, 7, 4, wire.AcquisitionDone(3, 1001), 2), 0, 1)) == []
    assert (decoder.garbled, decoder.other_version) == (1, None)


@pytest.mark.parametrize(
    "body",
    [
        wire.TriggerBody(5, "housing", "lot 7"),
        messages.JobBody("housing"),
        messages.JobAnswer(5, messages.JobCode.PREPARED, "housing"),
        wire.Heartbeat(False, wire.EndState.INITIALIZED, "no recipe"),
    ],
)
def test_what_is_new_in_version_3_is_neither_sent_nor_read_in_version_2(body: wire.Body) -> None:
    with pytest.raises(wire.FrameError, match="version 2 has no"):
        wire.encode(wire.Message(9, 7, 4, body, 2))
    decoder = wire.Decoder()
    assert decoder.feed(altered(wire.Message(9, 7, 4, body, 3), 0, 2)) == []
    assert (decoder.garbled, decoder.other_version) == (1, None)
    assert decoder.feed(wire.encode(wire.Message(9, 7, 4, body, 3)))[0].body == body


@pytest.mark.parametrize("behind", [wire.STX, wire.ETX, wire.DLE])
def test_a_byte_behind_0x10_that_cannot_stand_there_breaks_its_frame_and_no_other(behind: int) -> None:
    frame = wire.encode(A_RESULT)
    decoder = wire.Decoder()
    broken = frame[:8] + bytes((wire.DLE, behind))
    assert decoder.feed(broken + frame) == [A_RESULT]
    assert decoder.garbled == (2 if behind == wire.STX else 1)
