"""Messages as lines of text: read as written, and nothing else is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.sorters import messages as wire
from drivers.sorters.serial import explain, frames, lines

texts = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=32)
numbers, byte = st.integers(0, 2**32 - 1), st.integers(0, 255)
bodies = st.one_of(
    st.builds(wire.Hello, st.sampled_from(wire.Role), texts),
    st.builds(wire.Heartbeat, st.booleans(), st.sampled_from(wire.EndState), texts),
    st.builds(wire.TriggerBody, numbers, texts.map(lambda text: text.replace(";", "")), texts),
    st.builds(wire.TriggerAck, numbers, numbers),
    st.builds(wire.TriggerRefused, numbers, numbers, st.sampled_from(wire.RefusalCode), texts),
    st.builds(wire.AcquisitionDone, numbers, numbers),
    st.builds(wire.JobBody, texts),
    st.builds(wire.JobAnswer, numbers, st.sampled_from(wire.JobCode), texts),
    st.builds(wire.ResultBody, numbers, numbers, st.sampled_from(wire.WireOutcome), byte, byte, texts),
    st.builds(wire.ResultAck, numbers, numbers, st.sampled_from(wire.Sorted), byte),
    st.builds(wire.Fault, st.sampled_from(wire.FaultCode), texts),
)
session = st.integers(0, 65535)
every_message = st.builds(wire.Message, session, session, numbers, bodies, st.just(3))


@given(every_message)
def test_every_message_is_read_as_it_was_written(message: wire.Message) -> None:
    assert lines.Decoder().feed(lines.encode(message)) == [message]


@given(st.lists(every_message, max_size=4), st.binary(max_size=30), st.data())
def test_messages_come_whole_out_of_pieces_of_any_size_and_behind_any_noise(
    said: list[wire.Message], noise: bytes, data: st.DataObject
) -> None:
    stream = noise + b"\n" + b"".join(map(lines.encode, said))
    decoder, found = lines.Decoder(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += decoder.feed(stream[:size])
        stream = stream[size:]
    assert found == said


@given(every_message, st.data())
def test_one_character_that_was_changed_lost_or_doubled_is_never_read_as_another_message(
    message: wire.Message, data: st.DataObject
) -> None:
    line = lines.encode(message)
    at = data.draw(st.integers(0, len(line) - 3))
    how = data.draw(st.sampled_from(["changed", "lost", "doubled"]))
    if how == "changed":
        other = data.draw(st.integers(0, 255).filter(lambda byte: byte != line[at]))
        spoiled = line[:at] + bytes([other]) + line[at + 1 :]
    else:
        spoiled = line[:at] + (line[at : at + 1] * 2 if how == "doubled" else b"") + line[at + 1 :]
    assert lines.Decoder().feed(spoiled) in ([], [message])


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=2, max_size=60), st.data())
def test_two_neighbours_that_changed_places_change_the_checksum(text: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(text) - 2))
    swapped = text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    assert (lines.checksum(text) == lines.checksum(swapped)) == (text == swapped)


def test_numbers_of_another_spelling_and_fields_out_of_range_are_no_message() -> None:
    def line(content: str) -> bytes:
        return f":{content}*{lines.checksum(content)}\r\n".encode()

    good = "RESULT_ACK;2;7;8;9;3;1001;1;2;"
    assert lines.Decoder().feed(line(good))
    for bad in (
        good.replace(";9;", ";09;"), good.replace(";9;", ";+9;"), good.replace(";9;", ";4294967296;"),
        good.replace(";7;", ";65536;"), good.replace(";1;2;", ";3;2;"), good.replace(";2;", ";256;"),
        good[:-3], good + "text", good.replace("RESULT", "result"), "", ";;;;", "RESULT_ACK",
    ):  # fmt: skip
        decoder = lines.Decoder()
        assert not decoder.feed(line(bad)), bad
        assert decoder.garbled == 1
    decoder = lines.Decoder()
    assert not decoder.feed(b":" + b"x" * 500 + b"\r\n")
    assert decoder.garbled == 1


def test_a_line_of_a_later_version_is_told_apart_from_a_broken_one() -> None:
    content = "HEARTBEAT;9;7;8;9;1;1;"
    decoder = lines.Decoder()
    assert not decoder.feed(f":{content}*{lines.checksum(content)}\n".encode())
    assert decoder.other_version == 9


def test_lines_are_explained_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert explain.main(["--lines"]) == 0
    trace = [line.strip() for line in capsys.readouterr().out.splitlines() if line.startswith("    :")]
    assert len(trace) == len(explain.worked_part())
    assert explain.main(["--lines", *trace]) == 0
    assert "RESULT_ACK" in capsys.readouterr().out
    assert explain.main(["--lines", ":nonsense"]) == 1
    assert [message for line in trace for message in lines.Decoder().feed(f"{line}\n".encode())] == [
        message for _, message in explain.worked_part()
    ]
    assert frames.Decoder().feed(b"".join(frames.encode(m) for _, m in explain.worked_part()))
