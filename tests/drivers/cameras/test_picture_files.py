"""One reader and one writer of picture files, whatever the file and its name."""

import os
import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.cameras.folder import FolderCamera, FolderSettings
from drivers.cameras.picture_files import (
    ImageFileError,
    decode_image,
    encode_image,
    in_channels,
    pictures_in,
    read_image,
    shown,
    write_image,
)

ROOT = Path(__file__).parents[3]
GREY = np.arange(60, dtype=np.uint8).reshape(6, 10)
NOT_UTF8 = os.fsdecode(b"part-\xff.png")


def exif(orientation: int) -> bytes:
    return b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 274, 3, 1, orientation, 0, 0)


def webp(block: bytes) -> bytes:
    """A lossless WebP of 10 x 6 px with an EXIF block."""
    body = cv2.imencode(".webp", cv2.merge([GREY] * 3), [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()[12:]
    head = b"VP8X" + struct.pack("<II", 10, 8) + (9).to_bytes(3, "little") + (5).to_bytes(3, "little")
    chunk = b"EXIF" + struct.pack("<I", len(block)) + block + bytes(len(block) % 2)
    whole = b"WEBP" + head + body + chunk
    return b"RIFF" + struct.pack("<I", len(whole)) + whole


@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
def test_a_webp_is_turned_as_its_exif_block_says_however_the_block_begins(
    tmp_path: Path, prefix: bytes
) -> None:
    (tmp_path / "a.webp").write_bytes(webp(prefix + exif(6)))
    assert read_image(tmp_path / "a.webp").shape[:2] == (10, 6)


def test_a_jpeg_is_turned_as_its_exif_block_says(tmp_path: Path) -> None:
    data = cv2.imencode(".jpg", GREY)[1].tobytes()
    block = b"Exif\0\0" + exif(6)
    turned = data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]
    (tmp_path / "a.jpg").write_bytes(turned)
    assert read_image(tmp_path / "a.jpg").shape == (10, 6)


def test_an_avif_that_is_to_be_turned_is_refused_because_it_would_not_be(tmp_path: Path) -> None:
    (tmp_path / "a.avif").write_bytes(b"\0\0\0\x20ftypavif" + bytes(40) + b"irot\x03" + bytes(40))
    with pytest.raises(ImageFileError, match="a turned AVIF picture, which is not supported; save it"):
        read_image(tmp_path / "a.avif")


def test_a_name_that_is_not_utf8_is_read_written_and_named_in_print(tmp_path: Path) -> None:
    path = tmp_path / NOT_UTF8
    write_image(path, GREY)
    np.testing.assert_array_equal(read_image(path), GREY)
    path.write_bytes(b"")
    with pytest.raises(ImageFileError, match=r"part-\\xff\.png: the file is empty") as caught:
        read_image(path)
    str(caught.value).encode("utf-8")


def test_a_frame_names_its_file_in_characters_that_a_journal_takes(tmp_path: Path) -> None:
    write_image(tmp_path / NOT_UTF8, GREY)
    camera = FolderCamera(FolderSettings(path=tmp_path))
    camera.open()
    camera.arm()
    frame = camera.grab(1.0)
    assert frame.complete
    assert frame.source.encode("utf-8").endswith(rb"part-\xff.png")


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_categories=()), max_size=300))
def test_no_name_whatsoever_ends_in_anything_but_a_picture_or_an_error(name: str) -> None:
    with pytest.raises(ImageFileError):
        read_image(f"/nowhere/{name}.png")
    with pytest.raises(ImageFileError):
        write_image(Path(f"/proc/{name}.png"), GREY)
    shown(name).encode("utf-8")


def test_a_name_that_ended_the_process_is_an_error_now(tmp_path: Path) -> None:
    code = (
        "from drivers.cameras.picture_files import ImageFileError, read_image\n"
        "for name in ('\\udcff.png', '\\ud800.png', 'a\\0b.png', 'x' * 5000):\n"
        "    try: read_image(name)\n"
        "    except ImageFileError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.count("cannot be read") == 4


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.png"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    with pytest.raises(ImageFileError, match=f"it is a {kind}; name a picture file"):
        read_image(path)


def test_links_that_lead_nowhere_and_pipes_are_listed_so_that_their_reader_complains(tmp_path: Path) -> None:
    write_image(tmp_path / "1.png", GREY)
    (tmp_path / "2.png").symlink_to("/nowhere/2.png")
    os.mkfifo(tmp_path / "3.png")
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "1.png").write_bytes(b"\0\5\x16\7")
    (tmp_path / "._1.png").write_bytes(b"\0\5\x16\7")
    listed = pictures_in(tmp_path, recursive=True)
    assert [path.name for path in listed] == ["1.png", "2.png", "3.png"]
    for path in listed[1:]:
        with pytest.raises(ImageFileError, match="cannot be read"):
            read_image(path)


def test_transparent_pixels_are_refused_where_colours_alone_would_lie(tmp_path: Path) -> None:
    marks = np.zeros((6, 10, 4), np.uint8)
    marks[2, 3, 3] = 255
    write_image(tmp_path / "a.png", marks)
    with pytest.raises(ImageFileError, match="save it without an alpha channel"):
        read_image(tmp_path / "a.png", opaque=True)
    marks[..., 3] = 255
    write_image(tmp_path / "a.png", marks)
    assert not read_image(tmp_path / "a.png", opaque=True).any()


def test_grey_and_colour_become_each_other() -> None:
    colour = in_channels(GREY, 3)
    assert colour.shape == (6, 10, 3)
    np.testing.assert_array_equal(in_channels(colour, 1)[..., 0], GREY)
    np.testing.assert_array_equal(in_channels(GREY, 1)[..., 0], GREY)


def test_a_picture_that_cannot_be_written_is_named_with_the_cause(tmp_path: Path) -> None:
    with pytest.raises(ImageFileError, match=r"cannot be written as '\.xyz'; write uint8 as \.png"):
        write_image(tmp_path / "a.xyz", GREY)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ImageFileError, match="cannot be written"):
        write_image(tmp_path / "file" / "a.png", GREY)


@pytest.mark.parametrize(
    ("file", "line", "refused"),
    [
        ("retraining/data/new.py", 'cv2.imread("a.png")', True),
        ("station/new.py", "cv2.imdecode(b, 0)", True),
        ("simulation/new.py", 'cv2.imwrite("a.png", b)', True),
        ("retraining/new.py", "cv2.resize(b, (8, 8))", True),
        ("retraining/new.py", 'Image.open("a.png")', True),
        ("drivers/cameras/picture_files.py", "cv2.imdecode(b, 0)", False),
        ("station/pictures/drawing.py", "cv2.resize(b, (8, 8))", False),
    ],
)
def test_the_linter_keeps_one_way_to_read_and_one_way_to_resize(file: str, line: str, refused: bool) -> None:
    code = f'"""A file."""\n\nimport cv2\nfrom PIL import Image\n\nb = Image\ncv2.error\n{line}\n'
    command = [sys.executable, "-m", "ruff", "check", "--select", "TID251", "--stdin-filename", file, "-"]
    done = subprocess.run(command, cwd=ROOT, input=code, capture_output=True, text=True, check=False)
    assert (done.returncode, "TID251" in done.stdout) == (int(refused), refused), done.stdout + done.stderr


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", [b"IDAT", b"IEND"])
@pytest.mark.parametrize("bit", [0x01, 0x20, 0x80])
def test_a_png_whose_chunk_lost_its_name_is_damaged_and_not_looked_through_for_ever(
    kind: bytes, bit: int
) -> None:
    data = encode_image(GREY, ".png")
    with pytest.raises(ImageFileError, match="not a picture, or damaged"):
        decode_image(data.replace(kind, bytes([kind[0] ^ bit]) + kind[1:]), "a.png")
    assert (decode_image(data + b"what follows does not count", "a.png") == GREY).all()


def test_pixels_that_a_format_does_not_hold_are_an_error_also_where_opencv_raises_none() -> None:
    with pytest.raises(ImageFileError, match=r"cannot be written as '\.jp2'"):
        encode_image(np.zeros((1, 40), np.uint8), ".jp2")
