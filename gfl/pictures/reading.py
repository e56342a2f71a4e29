"""Picture files of any kind, as upright RGB; what cannot be read is refused in one line.

| kind | what is done |
|---|---|
| EXIF orientation | applied: boxes are those of the upright picture |
| grey, black and white, palette | made RGB |
| 16 bits a channel | the upper 8 |
| CMYK, YCCK | made RGB, an Adobe file's inverted inks put right |
| transparent | laid on white |
| several frames or pages | the first |
| whole numbers or floats of unknown range | refused |
| more than ``MOST_PIXELS`` | refused before anything is decompressed |

Only formats that Pillow itself decodes are opened: EPS, for one, would be run by Ghostscript.
"""

from __future__ import annotations

import stat
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from gfl import escape
from gfl.errors import UserError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM")
KINDS = f"; read are {', '.join(FORMATS)}"
# Pictures too, so that a folder of them is not silently empty: refused by name, one by one.
UNDECODED = (".heic", ".heif", ".jxl", ".svg")
MOST_PIXELS = 2 * 89_478_485  # where Pillow, too, refuses rather than warns; 0.5 GB of RGB
TOO_LARGE = f"more than {MOST_PIXELS / 1e6:.0f} million pixels, too large to decode; scale it down"
DRAWN = ".boxes.png"  # what we write ourselves
SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded picture."""

    path: Path
    rgb: np.ndarray  # uint8 [H, W, 3], upright
    remark: str = ""  # what the user should know about how it was read

    @property
    def height(self) -> int:
        return self.rgb.shape[0]

    @property
    def width(self) -> int:
        return self.rgb.shape[1]


def listed(given: Iterable[Path]) -> tuple[list[Path], list[str]]:
    """Return the files that are meant, each once, in order, and what is wrong with some names.

    A folder stands for the pictures that lie directly in it, by their names' endings, without
    hidden files and without what this command drew before.
    """
    endings = _endings()
    found: dict[Path, None] = {}
    complaints = []
    for path in given:
        if not path.is_dir():
            found[path] = None  # read, and then refused, like any other
            continue
        try:
            inside = sorted(path.iterdir())
        except OSError as err:
            complaints.append(f"{named(path)}: {err.strerror}")
            continue
        pictures = [p for p in inside if p.suffix.lower() in endings and _is_for_us(p)]
        found.update(dict.fromkeys(pictures))
        if not pictures:
            deeper = " (its folders are not searched)" if any(p.is_dir() for p in inside) else ""
            complaints.append(f"{named(path)}: no picture lies in this folder{deeper}")
    return list(found), complaints


def _endings() -> set[str]:
    known = Image.registered_extensions()
    return {ending for ending, format in known.items() if format in FORMATS} | {*UNDECODED}


def _is_for_us(path: Path) -> bool:
    return not path.name.startswith(".") and not path.name.endswith(DRAWN) and not path.is_dir()


def named(path: Path) -> str:
    """Return a file's name for a message of one line, whatever the name is."""
    return escape.terminal(str(path))


def read(path: Path) -> Picture:
    """Read a picture.

    Raises:
        UserError: there is none, or it is not one that can be read right.
    """
    _check_file(path)
    try:
        # A warning of Pillow's is about a file: a picture that can be read in spite of it is read.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _decoded(path)
    except UserError:
        raise
    except UnidentifiedImageError as err:
        raise UserError(
            f"{named(path)}: not a picture, or of a kind that is not read{KINDS}"
        ) from err
    except Image.DecompressionBombError as err:
        raise UserError(f"{named(path)}: {TOO_LARGE}") from err
    except MemoryError as err:
        raise UserError(f"{named(path)}: too large for this machine's memory") from err
    except Exception as err:  # whatever a decoder makes of bytes that are not as they should be
        raise UserError(f"{named(path)}: damaged, cannot be decoded ({_reason(err)})") from err


def _check_file(path: Path) -> None:
    try:
        about = path.stat()
        if stat.S_ISDIR(about.st_mode):
            raise UserError(f"{named(path)}: a folder, not a picture")
        if not stat.S_ISREG(about.st_mode):  # a pipe would be waited for
            raise UserError(f"{named(path)}: not a file")
        if about.st_size == 0:
            raise UserError(f"{named(path)}: empty, 0 bytes")
        with path.open("rb"):
            pass
    except FileNotFoundError as err:
        raise UserError(f"{named(path)}: no such file") from err
    except (OSError, ValueError) as err:  # ValueError: a name with a zero byte
        reason = getattr(err, "strerror", None) or err
        raise UserError(f"{named(path)}: cannot be read ({reason})") from err


def _decoded(path: Path) -> Picture:
    if path.suffix.lower() in UNDECODED:
        raise UserError(f"{named(path)}: {path.suffix} files are not read{KINDS}")
    with Image.open(path, formats=FORMATS) as image:
        if image.width * image.height > MOST_PIXELS:
            raise UserError(f"{named(path)}: {TOO_LARGE}")
        remark = _remark(image)
        image.load()
        rgb = np.asarray(_rgb(_upright(image), path))
    return Picture(path, rgb, remark)


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # EXIF that says nothing readable, as other programs have it
        return image


def _rgb(image: Image.Image, path: Path) -> Image.Image:
    if image.mode in SIXTEEN_BITS or image.mode in ("I", "F"):
        values = np.asarray(image)
        if image.mode == "F" or values.min() < 0 or values.max() > 0xFFFF:
            raise UserError(f"{named(path)}: the range of its grey values is not known")
        image = Image.fromarray((values >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    try:
        return image.convert("RGB")
    except ValueError as err:
        raise UserError(
            f"{named(path)}: its colours are {image.mode}, not RGB, CMYK or grey"
        ) from err


def _remark(image: Image.Image) -> str:
    """Say that a file has more than what is looked at; a phone's second picture is none."""
    frames = getattr(image, "n_frames", 1)
    if frames == 1 or image.format == "MPO":
        return ""
    return f"{frames} {'pages' if image.format == 'TIFF' else 'frames'}; the first is looked at"


def _reason(err: Exception) -> str:
    return " ".join(str(err).split()) or type(err).__name__
