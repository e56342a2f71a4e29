"""Whatever format, mode and orientation a file has, check, training and prediction read the same.

The files are drawn here with Pillow; the picture that was drawn is what has to come back.
"""

from __future__ import annotations

import io
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

import gfl.register  # noqa: F401  before mmcv
from gfl.data import images
from gfl.data.images import ImageError
from gfl.data.loading import LoadUprightImage
from gfl.data.own.image_check import examine
from gfl.errors import UserError

T = Image.Transpose
STORED: dict[
    int, Image.Transpose | None
] = {  # how an upright picture is stored for an orientation of EXIF
    1: None,
    2: T.FLIP_LEFT_RIGHT,
    3: T.ROTATE_180,
    4: T.FLIP_TOP_BOTTOM,
    5: T.TRANSPOSE,
    6: T.ROTATE_90,
    7: T.TRANSVERSE,
    8: T.ROTATE_270,
}
# Endings of formats that keep EXIF, and how they are written without loss, where they can be.
WITH_EXIF: dict[str, dict[str, Any]] = {
    "png": {},
    "tif": {},
    "webp": {"lossless": True, "exact": True},
    "jpg": {"quality": 95},
    "avif": {"quality": 95},
}
LOSSY = ("jpg", "avif")
WRITTEN = [*WITH_EXIF, "gif", "bmp", "jp2", "ppm", "tga", "pcx", "dds", "ico", "sgi"]
MODES = ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "I;16", "I", "F", "LAB", "PA", "La"]


def draw(width: int = 40, height: int = 24, seed: int = 0) -> Image.Image:
    """A picture of coarse noise, which no turn leaves as it is."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def save(image: Image.Image, path: Path, orientation: int | None = None) -> None:
    """Write a file whose EXIF turns it to ``image``."""
    options: dict[str, Any] = dict(WITH_EXIF.get(path.suffix[1:], {}))
    if orientation is not None:
        method = STORED[orientation]
        image = image if method is None else image.transpose(method)
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = orientation
    image.save(path, **options)


def loaded(path: Path) -> np.ndarray:
    """A file as the training's transform loads it, in RGB."""
    results = LoadUprightImage().transform({"img_path": str(path)})
    image = results["img"]
    assert results["img_shape"] == results["ori_shape"] == image.shape[:2]
    assert image.dtype == np.uint8
    assert image.flags.writeable
    return image[..., ::-1]


@pytest.mark.parametrize("ending", WITH_EXIF)
@pytest.mark.parametrize("orientation", STORED)
def test_every_format_is_turned_as_its_exif_says(tmp_path, orientation, ending):
    upright, path = draw(), tmp_path / f"a.{ending}"
    save(upright, path, orientation)
    assert examine(tmp_path, [path])[path] == upright.size
    expected = np.asarray(upright)
    if ending in LOSSY:  # of the same stored pixels without EXIF, turned by hand
        method = STORED[orientation]
        save(upright if method is None else upright.transpose(method), tmp_path / f"b.{ending}")
        back = {T.ROTATE_90: T.ROTATE_270, T.ROTATE_270: T.ROTATE_90}.get(method, method)  # type: ignore[arg-type]
        plain = Image.fromarray(images.read(tmp_path / f"b.{ending}").rgb)
        expected = np.asarray(plain if back is None else plain.transpose(back))
        assert abs(expected.astype(int) - np.asarray(upright)).mean() < 8
    np.testing.assert_array_equal(loaded(path), expected)
    np.testing.assert_array_equal(images.read(path).rgb, expected)


def test_a_pngs_exif_may_stand_after_its_pixels(tmp_path):
    """As ExifTool writes it."""
    upright, path = draw(), tmp_path / "a.png"
    upright.transpose(T.ROTATE_90).save(path)
    exif = Image.Exif()
    exif[0x0112] = 6
    content = path.read_bytes()
    data = exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = (
        struct.pack(">I", len(data))
        + b"eXIf"
        + data
        + struct.pack(">I", zlib.crc32(b"eXIf" + data))
    )
    path.write_bytes(content[:-12] + chunk + content[-12:])
    np.testing.assert_array_equal(loaded(path), np.asarray(upright))


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    mode=st.sampled_from(MODES),
    ending=st.sampled_from(WRITTEN),
    orientation=st.sampled_from([None, *STORED]),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 1000),
    cut=st.sampled_from([None, None, 0.2, 0.9]),
)
def test_what_the_check_accepts_training_reads_to_the_same_pixels(
    tmp_path_factory, mode, ending, orientation, size, seed, cut
):
    path = tmp_path_factory.mktemp("drawn") / f"a.{ending}"
    kept = orientation if ending in WITH_EXIF else None
    try:
        save(_in_mode(draw(size[0], size[1], seed), mode), path, kept)
    except (OSError, ValueError, KeyError):
        return  # Pillow does not write this mode in this format
    if cut is not None:
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * cut)])
    found = examine(path.parent, [path])[path]
    if isinstance(found, ImageError):
        for read in (loaded, images.read):
            with pytest.raises(UserError, match=re.escape(found.reason)):
                read(path)
        return
    pixels = loaded(path)
    assert pixels.shape == (found[1], found[0], 3)
    assert found == size
    np.testing.assert_array_equal(pixels, images.read(path).rgb)


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    if mode == "La":
        return image.convert("LA").convert("La")
    if mode == "PA":
        return image.convert("P").convert("PA")
    if mode == "LAB":
        return Image.frombytes("LAB", image.size, image.tobytes())
    return image.convert(mode)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "I;16"])
@pytest.mark.parametrize("orientation", STORED)
def test_a_tiff_of_any_mode_is_its_upright_picture(tmp_path, mode, orientation):
    upright, path = _in_mode(draw(), mode), tmp_path / "a.tif"
    save(upright, path, orientation)
    grey = draw().convert("L") if mode == "I;16" else upright
    np.testing.assert_array_equal(loaded(path), np.asarray(grey.convert("RGB")))


@pytest.mark.parametrize(
    ("ending", "options"),
    [
        ("jpg", {}),
        ("jpg", {"progressive": True}),
        ("png", {}),
        ("webp", {}),
        ("webp", {"lossless": True}),
        ("gif", {}),
        ("bmp", {}),
        ("tif", {}),
        ("tif", {"compression": "tiff_lzw"}),
        ("avif", {}),
        ("jp2", {}),
        ("ppm", {}),
    ],
)
def test_a_file_cut_off_at_any_tenth_is_found(tmp_path, ending, options):
    """With its header whole, too: the size that it gives is then that of the whole picture."""
    whole = io.BytesIO()
    draw(160, 120).save(whole, format=Image.registered_extensions()[f".{ending}"], **options)
    content = whole.getvalue()
    paths = [tmp_path / f"{tenth}.{ending}" for tenth in range(11)]
    for tenth, path in enumerate(paths):
        path.write_bytes(content[: len(content) * tenth // 10])
    found = examine(tmp_path, paths)
    assert found.pop(paths[10]) == (160, 120)
    assert all(isinstance(what, ImageError) for what in found.values()), found
    assert str(found[paths[0]]).endswith("empty, 0 bytes")


def test_formats_that_are_not_supported_are_named_with_those_that_are(tmp_path):
    for ending in ("tga", "dds", "pcx"):
        draw().save(tmp_path / f"a.{ending}")
        with pytest.raises(
            ImageError, match=rf"\.{ending}, an unsupported format; supported: JPEG"
        ):
            images.read(tmp_path / f"a.{ending}")


def test_pillows_warnings_stay_with_the_file_they_are_about(tmp_path):
    """In a process of its own, where a warning is a line on the terminal and no error."""
    draw().save(tmp_path / "exif.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\0\0")
    Image.new("1", (10_000, 9_000)).save(tmp_path / "large.png")  # Pillow warns, and reads it
    Image.new("1", (20_000, 10_000)).save(tmp_path / "huge.png")
    code = (
        "import sys; from pathlib import Path; from gfl.data.own import image_check as check\n"
        "check.REMEMBERED = Path(sys.argv[1], 'none')\n"
        "paths = sorted(Path(sys.argv[1]).glob('*.*'))\n"
        "for path, found in check.examine(Path(sys.argv[1]), paths).items(): print(found)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", code, str(tmp_path)],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "(40, 24)",
        f"{tmp_path}/huge.png: {images.TOO_LARGE}",
        "(10000, 9000)",
    ]


def test_what_was_sound_is_not_decoded_again_until_it_changes(tmp_path, monkeypatch):
    paths = [tmp_path / f"{i}.png" for i in range(5)]
    for path in paths:
        save(draw(), path, 6)
    paths[4].write_bytes(b"no image")
    progress: list[tuple[int, int]] = []

    def check() -> dict[Path, Any]:
        progress.clear()
        return examine(tmp_path, paths, lambda *done: progress.append(done))

    first = check()
    assert [first[path] for path in paths[:4]] == [(40, 24)] * 4
    assert progress == [(done, 5) for done in range(1, 6)]
    again = check()
    assert [again[path] for path in paths[:4]] == [(40, 24)] * 4
    assert str(again[paths[4]]) == str(first[paths[4]])  # what was not sound is looked at again
    assert progress == [(1, 1)]
    draw(30, 20).save(paths[0])
    draw().save(paths[4])
    assert list(check().values()) == [(30, 20), *[(40, 24)] * 4]
    assert progress == [(1, 2), (2, 2)]
    check()
    assert progress == []
    monkeypatch.setattr("gfl.data.own.image_check.READER", "another")
    check()
    assert progress[-1] == (5, 5)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"\xff", b'{"reader": 1}', b'{"images": {"a": 1}}', b'{"images": 3}']
)
def test_a_memory_that_is_not_ours_is_none(tmp_path, checked_images, content):
    save(draw(), tmp_path / "a.png")
    examine(tmp_path, [tmp_path / "a.png"])
    (memory,) = (f for f in checked_images.glob("*.json") if str(tmp_path) in f.read_text())
    memory.write_bytes(content.replace(b'"images"', b'"reader": "x", "images"'))
    assert examine(tmp_path, [tmp_path / "a.png"]) == {tmp_path / "a.png": (40, 24)}


def test_a_place_that_cannot_be_written_remembers_nothing(tmp_path, monkeypatch):
    save(draw(), tmp_path / "a.png")
    (tmp_path / "file").touch()
    monkeypatch.setattr("gfl.data.own.image_check.REMEMBERED", tmp_path / "file")
    assert examine(tmp_path, [tmp_path / "a.png"]) == {tmp_path / "a.png": (40, 24)}


def test_text_in_a_png_may_be_anything(tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add_text("Raw profile type exif", "no profile")
    draw().save(tmp_path / "a.png", pnginfo=info)
    np.testing.assert_array_equal(loaded(tmp_path / "a.png"), np.asarray(draw()))
