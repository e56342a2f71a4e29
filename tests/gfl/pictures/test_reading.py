"""Whatever kind of file a picture is, the same upright RGB comes of it, or one line that says why.

The odd kinds are made here, of a drawn picture and of a photograph.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from gfl.data import images
from gfl.errors import UserError
from gfl.pictures import reading
from gfl.shapes.embedded import ShapesSpec, render

TURNED_BACK = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.fixture(params=["drawn", "photograph"])
def original(request: pytest.FixtureRequest) -> Image.Image:
    """A picture that is wider than high, RGB, 8 bits."""
    if request.param == "drawn":
        pixels, _ = render(ShapesSpec(image_size=64, train=1, val=1), "val", 0)
        return Image.fromarray(pixels[:40])
    shared = request.getfixturevalue("shared")
    return Image.open(shared / "data/coco-tiny/val2017/000000025603.jpg").convert("RGB")


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


def read(path: Path) -> np.ndarray:
    picture = images.read(path)
    assert picture.rgb.dtype == np.uint8
    assert (picture.height, picture.width, 3) == picture.rgb.shape
    return picture.rgb.astype(int)


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as refused:
        images.read(path)
    message = str(refused.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize("orientation", TURNED_BACK)
def test_it_is_turned_upright(
    tmp_path: Path, original: Image.Image, orientation: int, ending: str
) -> None:
    method, exif = TURNED_BACK[orientation], Image.Exif()
    exif[0x0112] = orientation
    turned = original if method is None else original.transpose(method)
    turned.save(tmp_path / f"a.{ending}", exif=exif)
    np.testing.assert_array_equal(read(tmp_path / f"a.{ending}"), pixels(original))


@pytest.mark.parametrize("exif", [b"Exif\0\0no tags", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\0\0"])
def test_damaged_exif_says_nothing(tmp_path: Path, original: Image.Image, exif: bytes) -> None:
    original.save(tmp_path / "a.jpg", exif=exif)
    original.save(tmp_path / "b.jpg")
    np.testing.assert_array_equal(read(tmp_path / "a.jpg"), read(tmp_path / "b.jpg"))


def test_grey_palette_and_black_and_white(tmp_path: Path, original: Image.Image) -> None:
    for name, mode in (
        ("grey.png", "L"),
        ("palette.png", "P"),
        ("palette.gif", "P"),
        ("1.png", "1"),
    ):
        converted = original.convert(mode)
        converted.save(tmp_path / name)
        np.testing.assert_array_equal(read(tmp_path / name), pixels(converted.convert("RGB")))


def test_inks_become_light(tmp_path: Path, original: Image.Image) -> None:
    inks = original.convert("CMYK")
    inks.save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read(tmp_path / "a.tif"), pixels(original))
    inks.save(tmp_path / "a.jpg", quality=95)
    with Image.open(tmp_path / "a.jpg") as saved:
        assert saved.mode == "CMYK"
    assert abs(read(tmp_path / "a.jpg") - pixels(original)).mean() < 3


@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
def test_sixteen_bits_of_grey_are_as_bright_as_eight(
    tmp_path: Path, original: Image.Image, ending: str
) -> None:
    grey = pixels(original.convert("L"))
    path = tmp_path / f"a.{ending}"
    assert cv2.imwrite(str(path), (grey * 257).astype(np.uint16))
    np.testing.assert_array_equal(read(path), np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize("ending", ["png", "tif", "ppm"])
def test_sixteen_bits_of_colour_are_as_bright_as_eight(
    tmp_path: Path, original: Image.Image, ending: str
) -> None:
    path = tmp_path / f"a.{ending}"
    assert cv2.imwrite(str(path), (pixels(original)[..., ::-1] * 257).astype(np.uint16))
    np.testing.assert_array_equal(read(path), pixels(original))


def test_what_is_transparent_lies_on_white(tmp_path: Path, original: Image.Image) -> None:
    alpha = np.zeros((original.height, original.width), np.uint8)
    alpha[:, ::2] = 255
    clear = original.copy()
    clear.putalpha(Image.fromarray(alpha))
    clear.save(tmp_path / "a.png")
    expected = pixels(original)
    expected[:, 1::2] = 255
    np.testing.assert_array_equal(read(tmp_path / "a.png"), expected)
    grey = clear.convert("LA")
    grey.save(tmp_path / "b.png")
    assert (read(tmp_path / "b.png")[:, 1::2] == 255).all()


@pytest.mark.parametrize(
    ("ending", "what"), [("png", "frames"), ("gif", "frames"), ("tif", "pages")]
)
def test_the_first_of_several_frames(
    tmp_path: Path, original: Image.Image, ending: str, what: str
) -> None:
    first = original.convert("P") if ending == "gif" else original
    others = [first.transpose(Image.Transpose.ROTATE_180)] * 2
    first.save(tmp_path / f"a.{ending}", save_all=True, append_images=others, duration=[10, 20, 30])
    np.testing.assert_array_equal(read(tmp_path / f"a.{ending}"), pixels(first.convert("RGB")))
    remark = images.read(tmp_path / f"a.{ending}").remark
    assert remark.endswith(f"{what}; the first is looked at")
    first.save(tmp_path / f"b.{ending}")
    assert images.read(tmp_path / f"b.{ending}").remark == ""


@pytest.mark.parametrize("ending", ["jpg", "png", "gif", "bmp", "tif", "webp", "ppm"])
def test_a_truncated_file_is_refused(tmp_path: Path, original: Image.Image, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    original.save(path)
    whole = path.read_bytes()
    for part in (len(whole) // 2, 40):
        path.write_bytes(whole[:part])
        assert refusal(path).startswith(("damaged, cannot be decoded (", "not an image, or"))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + body + chunk(b"IEND", b"")


def test_a_bomb_is_refused_before_it_is_decompressed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(20_000, 9_000))
    assert refusal(path) == "more than 179 million pixels, too large to decode; scale it down"
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # as other libraries do
    assert refusal(path) == "more than 179 million pixels, too large to decode; scale it down"
    path.write_bytes(png(3, 3, chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(50_000_000)))))
    assert "Decompressed data too large" in refusal(path)


def test_what_is_no_picture(tmp_path: Path, original: Image.Image) -> None:
    def refused(name: str, make: Callable[[Path], object]) -> str:
        make(tmp_path / name)
        return refusal(tmp_path / name)

    assert refused("missing.jpg", lambda path: None) == "no such file"
    assert refused("empty.jpg", Path.touch) == "empty, 0 bytes"
    assert refused("folder.jpg", Path.mkdir) == "a folder, not an image"
    assert refused("text.jpg", lambda path: path.write_text("hello")).startswith("not an image")
    assert refused("a.heic", lambda path: path.write_bytes(b"ftypheic")).startswith(
        ".heic, an unsupported format; supported: JPEG, PNG"
    )
    assert refused("loop.jpg", lambda path: path.symlink_to(path)).startswith("cannot be read (")
    assert refused("pipe.jpg", os.mkfifo) == "not a file"
    # PostScript is a program: Pillow would have Ghostscript run it.
    assert refused("a.png", lambda path: original.save(path, format="EPS")).startswith("not an")


def test_grey_values_of_unknown_range(tmp_path: Path) -> None:
    values = np.arange(12).reshape(3, 4)
    for name, image in (
        ("float.tif", values.astype(np.float32)),
        ("long.tif", (values * 70_000).astype(np.int32)),
        ("negative.tif", (values - 3).astype(np.int32)),
        ("small.tif", values.astype(np.int32)),  # 8 bits or 16? Either is a guess.
    ):
        Image.fromarray(image).save(tmp_path / name)
        assert refusal(tmp_path / name).startswith("32-bit grey values, whose range is unknown")


def test_a_name_with_a_line_break_stays_on_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        images.read(tmp_path / "two\nlines.jpg")
    assert "\n" not in str(refused.value)
    assert "two\\nlines.jpg" in str(refused.value)


def test_a_folder_is_its_pictures_and_not_what_we_drew(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "c.webp", "d.heic", "notes.txt", ".hidden.png", "a.boxes.png"):
        (tmp_path / name).touch()
    (tmp_path / "deeper.png").mkdir()
    files, complaints = reading.listed([tmp_path, tmp_path / "a.png", tmp_path / "none.jpg"])
    assert [file.name for file in files] == ["a.png", "b.JPG", "c.webp", "d.heic", "none.jpg"]
    assert complaints == []
    assert reading.listed([tmp_path / "a.boxes.png"])[0] == [tmp_path / "a.boxes.png"]


def test_a_folder_without_pictures_is_named(tmp_path: Path) -> None:
    (tmp_path / "deeper").mkdir()
    files, complaints = reading.listed([tmp_path, tmp_path / "deeper"])
    assert files == []
    assert complaints == [
        f"{tmp_path}: no picture lies in this folder (its folders are not searched)",
        f"{tmp_path / 'deeper'}: no picture lies in this folder",
    ]
