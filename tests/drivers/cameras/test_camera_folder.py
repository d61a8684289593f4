"""Reading picture files, and playing a folder of them."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from drivers.cameras.folder import FolderCamera, FolderSettings
from drivers.cameras.interface import CameraConfigError, CameraLostError, EndOfFramesError
from drivers.cameras.picture_files import ImageFileError, pictures_in, read_image
from drivers.cameras.picture_header import claimed_size

GREY = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 256, (90, 120), dtype=np.uint8), (5, 5), 2)
COLOUR = np.random.default_rng(2).integers(0, 256, (90, 120, 3), dtype=np.uint8)
LOSSLESS = [".png", ".bmp", ".tif", ".tiff", ".pgm", ".ppm"]
LOSSY = [".jpg", ".webp", ".jp2"]


def save(path: Path, pixels: np.ndarray, *how: int) -> Path:
    assert cv2.imwrite(str(path), pixels, list(how))
    return path


def encoded(ending: str, pixels: np.ndarray) -> bytes:
    ok, data = cv2.imencode(ending, pixels)
    assert ok
    return data.tobytes()


@pytest.mark.parametrize("ending", [e for e in LOSSLESS if e != ".ppm"])
def test_a_grey_picture_is_read_as_it_was_written(tmp_path: Path, ending: str) -> None:
    pixels = read_image(save(tmp_path / f"a{ending}", GREY))
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, GREY)


@pytest.mark.parametrize("ending", [e for e in LOSSLESS if e != ".pgm"])
def test_a_coloured_picture_is_read_as_bgr(tmp_path: Path, ending: str) -> None:
    np.testing.assert_array_equal(read_image(save(tmp_path / f"a{ending}", COLOUR)), COLOUR)


@pytest.mark.parametrize("ending", LOSSY)
def test_a_compressed_picture_is_read(tmp_path: Path, ending: str) -> None:
    pixels = read_image(save(tmp_path / f"a{ending}", GREY))
    assert pixels.shape[:2] == GREY.shape


def test_a_sun_raster_is_refused_because_it_would_be_read_as_black(tmp_path: Path) -> None:
    with pytest.raises(ImageFileError, match="save it as PNG or TIFF"):
        read_image(save(tmp_path / "a.ras", GREY))


def test_an_alpha_channel_is_dropped(tmp_path: Path) -> None:
    with_alpha = np.dstack([COLOUR, np.full(GREY.shape, 128, np.uint8)])
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.png", with_alpha)), COLOUR)


def test_sixteen_bits_without_a_scale_are_an_error_that_says_what_to_set(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", GREY.astype(np.uint16) * 16)
    with pytest.raises(ImageFileError, match=r"a\.tif: 16 bits per pixel; set sixteen_bit_white"):
        read_image(path)


@pytest.mark.parametrize("ending", [".tif", ".png"])
def test_sixteen_bits_are_scaled_by_the_value_that_is_white(tmp_path: Path, ending: str) -> None:
    deep = np.array([[0, 2048, 4095, 9000]], np.uint16)
    pixels = read_image(save(tmp_path / f"a{ending}", deep), sixteen_bit_white=4095)
    assert pixels.tolist() == [[0, 128, 255, 255]]


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", GREY.astype(np.float32))
    with pytest.raises(ImageFileError, match="float32; save it with 8 or 16 bits"):
        read_image(path)


@pytest.mark.parametrize("ending", [*LOSSLESS, *LOSSY])
@pytest.mark.parametrize("kept", [0.995, 0.9, 0.5, 0.1])
def test_a_picture_cut_short_is_never_read_in_part(tmp_path: Path, ending: str, kept: float) -> None:
    data = encoded(ending, GREY if ending != ".ppm" else COLOUR)
    path = tmp_path / f"a{ending}"
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(ImageFileError, match="not a picture, or damaged"):
        read_image(path)


def test_a_tiff_with_its_directory_in_front_cut_short_is_never_read_in_part(tmp_path: Path) -> None:
    # OpenCV writes the directory last, cameras and scanners often first.
    height, width = GREY.shape
    entries = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 122), (277, 1), (278, height)]
    entries.append((279, height * width))
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    head += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries) + bytes(4)
    assert len(head) == 122
    path = tmp_path / "a.tif"
    path.write_bytes(head + GREY.tobytes())
    np.testing.assert_array_equal(read_image(path), GREY)
    path.write_bytes((head + GREY.tobytes())[:6000])
    with pytest.raises(ImageFileError, match="damaged"):
        read_image(path)


def test_a_damaged_png_is_refused(tmp_path: Path) -> None:
    data = bytearray(encoded(".png", GREY))
    data[len(data) // 2] ^= 0x10
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(ImageFileError, match="damaged"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"hello, this is text", "not a picture"),
        (b"\xff\xd8\xff", "not a picture"),
    ],
)
def test_what_is_not_a_picture_is_named_with_what_is_wrong(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageFileError, match=message) as caught:
        read_image(path)
    assert str(caught.value).startswith(str(path))


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.png", tmp_path):
        with pytest.raises(ImageFileError, match="cannot be read"):
            read_image(path)


def test_a_decompression_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes(30_001) * 300, 9)
    path = tmp_path / "bomb.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )
    assert path.stat().st_size < 20_000
    with pytest.raises(ImageFileError, match="30000 x 30000 px is more than the 400 megapixels"):
        read_image(path)


@pytest.mark.parametrize("ending", [*LOSSLESS, *LOSSY])
def test_the_size_limit_holds_for_every_format_before_decoding(tmp_path: Path, ending: str) -> None:
    data = encoded(ending, COLOUR if ending == ".ppm" else GREY)
    assert claimed_size(data) == (120, 90)
    (tmp_path / f"a{ending}").write_bytes(data)
    with pytest.raises(ImageFileError, match=r"120 x 90 px is more than the 0\.01 megapixels"):
        read_image(tmp_path / f"a{ending}", max_megapixels=0.01)


def test_the_size_limit_holds_for_other_webp_and_gif(tmp_path: Path) -> None:
    with_alpha = np.dstack([COLOUR, np.full(GREY.shape, 128, np.uint8)])
    _, lossless = cv2.imencode(".webp", COLOUR, [cv2.IMWRITE_WEBP_QUALITY, 101])
    assert claimed_size(lossless.tobytes()) == (120, 90)
    assert claimed_size(encoded(".webp", with_alpha)) == (120, 90)
    assert claimed_size(encoded(".gif", COLOUR)) == (120, 90)


ENCODED = {e: encoded(e, GREY) for e in (".png", ".jpg", ".tif", ".bmp", ".webp", ".pgm", ".jp2")}


@given(st.binary(max_size=200), st.sampled_from(sorted(ENCODED)))
def test_no_header_however_damaged_raises(noise: bytes, ending: str) -> None:
    data = ENCODED[ending]
    for damaged in (noise, data[:12] + noise, data[: len(noise)], data[:20] + noise + data[40:]):
        size = claimed_size(damaged)
        assert size is None or len(size) == 2


def test_the_files_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b.png", "a.png", "10.png", "9.png", "C.PNG"):
        save(tmp_path / name, GREY)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "sub").mkdir()
    save(tmp_path / "sub" / "d.png", GREY)
    assert [path.name for path in pictures_in(tmp_path)] == ["10.png", "9.png", "C.PNG", "a.png", "b.png"]
    assert [path.name for path in pictures_in(tmp_path, recursive=True)][-1] == "d.png"


def test_a_broken_file_is_an_incomplete_frame_and_does_not_end_the_run(tmp_path: Path) -> None:
    save(tmp_path / "1.png", GREY)
    (tmp_path / "2.png").write_bytes(b"broken")
    save(tmp_path / "3.png", GREY.astype(np.uint16))
    save(tmp_path / "4.png", GREY)
    camera = FolderCamera(FolderSettings(path=tmp_path))
    camera.open()
    camera.arm()
    frames = [camera.grab(1.0) for _ in range(4)]
    assert [frame.complete for frame in frames] == [True, False, False, True]
    assert str(tmp_path / "2.png") in frames[1].problem
    assert "sixteen_bit_white" in frames[2].problem
    assert [frame.frame_id for frame in frames] == [0, 1, 2, 3]
    assert camera.health().incomplete == 2
    assert "3.png" in camera.health().last_error
    with pytest.raises(EndOfFramesError, match="all 4 files are done"):
        camera.grab(1.0)


def test_sixteen_bit_files_are_frames_when_their_scale_is_set(tmp_path: Path) -> None:
    save(tmp_path / "1.png", GREY.astype(np.uint16) * 257)
    camera = FolderCamera(FolderSettings(path=tmp_path, sixteen_bit_white=65535))
    camera.open()
    camera.arm()
    np.testing.assert_array_equal(camera.grab(1.0).pixels, GREY)


def test_discarding_late_frames_does_not_show_a_file_twice(tmp_path: Path) -> None:
    for name in "123":
        save(tmp_path / f"{name}.png", GREY)
    camera = FolderCamera(FolderSettings(path=tmp_path))
    camera.open()
    camera.arm()
    first = camera.grab(1.0)
    camera.disarm()
    camera.arm()
    second = camera.grab(1.0)
    assert [Path(frame.source).name for frame in (first, second)] == ["1.png", "2.png"]


def test_one_file_is_a_folder_of_one(tmp_path: Path) -> None:
    camera = FolderCamera(FolderSettings(path=save(tmp_path / "only.png", GREY)))
    camera.open()
    camera.arm()
    assert camera.grab(1.0).complete
    with pytest.raises(EndOfFramesError):
        camera.grab(1.0)


def test_an_empty_or_missing_folder_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(CameraConfigError, match="no pictures in"):
        FolderCamera(FolderSettings(path=tmp_path)).open()
    with pytest.raises(CameraConfigError, match="does not exist"):
        FolderCamera(FolderSettings(path=tmp_path / "nowhere")).open()


def test_a_folder_that_vanishes_is_a_lost_camera_that_can_be_opened_again(tmp_path: Path) -> None:
    folder = tmp_path / "stick"
    folder.mkdir()
    save(folder / "1.png", GREY)
    camera = FolderCamera(FolderSettings(path=folder, repeat=True))
    camera.open()
    camera.arm()
    folder.rename(tmp_path / "pulled")
    with pytest.raises(CameraLostError, match="is gone"):
        camera.grab(1.0)
    assert not camera.health().connected
    (tmp_path / "pulled").rename(folder)
    camera.open()
    camera.arm()
    assert camera.grab(1.0).complete


@pytest.mark.parametrize("settings", [{"sixteen_bit_white": 0}, {"max_megapixels": 0.0}])
def test_settings_that_make_no_sense_are_refused(tmp_path: Path, settings: dict) -> None:
    with pytest.raises(ValidationError, match=next(iter(settings))):
        FolderSettings(path=tmp_path, **settings)
