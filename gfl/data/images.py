"""Image files as upright 8-bit RGB: the one reader of checks, training, evaluation and prediction.

| file | result |
|---|---|
| EXIF orientation | applied: boxes are those of the upright image |
| grey, black and white, palette | converted to RGB |
| 16 bits a channel | the upper 8 |
| CMYK, YCCK | converted to RGB, an Adobe file's inverted inks put right |
| transparent | laid on white |
| several frames or pages | the first |
| 32-bit integers or floats | refused: their range is unknown |
| more than ``MOST_PIXELS`` | refused before anything is decompressed |

Only formats that Pillow decodes itself are opened (EPS, for one, would be run by Ghostscript).
COCO's own images are read by mmcv, as the published results were. Imports neither torch nor mmdet.
"""

from __future__ import annotations

import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from gfl import escape
from gfl.errors import UserError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM")
SUPPORTED = f"supported: {', '.join(FORMATS)}"
UNDECODED = (".heic", ".heif", ".jxl", ".svg")  # picture formats that Pillow does not support
MOST_PIXELS = 2 * 89_478_485  # where Pillow itself raises rather than warns; 0.5 GB of RGB
TOO_LARGE = f"more than {MOST_PIXELS / 1e6:.0f} million pixels, too large to decode; scale it down"
SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
STRETCHED = ("PPM", "PNG")  # 16-bit images that Pillow may open in a 32-bit mode
ORIENTATION = 0x0112  # of EXIF


class ImageError(UserError):
    """Image file that cannot be read correctly: the reason, and what the decoder said, if more.

    Also constructible from its text alone, as torch does to re-raise a loader process's error.
    """

    def __init__(self, text: str, reason: str = "", detail: str = "") -> None:
        super().__init__(text)
        self.reason, self.detail = reason or text, detail


@dataclass(frozen=True, eq=False)
class Picture:
    """Decoded image."""

    path: Path
    rgb: np.ndarray  # uint8 [H, W, 3], upright
    remark: str = ""  # anything the user should know about how it was read

    @property
    def height(self) -> int:
        return self.rgb.shape[0]

    @property
    def width(self) -> int:
        return self.rgb.shape[1]

    @property
    def bgr(self) -> np.ndarray:
        """Return the pixels in mmcv's channel order, contiguous and owned by the caller."""
        return self.rgb[..., ::-1].copy()


def named(path: Path) -> str:
    """Return a file's name, safe for a one-line message."""
    return escape.terminal(str(path))


def read(path: Path) -> Picture:
    """Decode an image.

    Raises:
        ImageError: the file is missing or cannot be read correctly.
    """
    with _opened(path) as image:
        remark = _remark(image)
        image.load()
        upright = _upright(image)
        if image.mode in SIXTEEN_BITS or (image.mode == "I" and image.format in STRETCHED):
            upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
        return Picture(path, np.asarray(_rgb(upright, path)), remark)


@contextmanager
def _opened(path: Path) -> Iterator[ImageFile.ImageFile]:
    """Open an image; turn any error, now or during decoding, into an ImageError."""
    _check_file(path)
    try:
        # Pillow's warnings concern the file: an image that can be read in spite of them is read.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Not by its name: Pillow would map a rotated TIFF with its sides swapped.
            with path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise _error(path, TOO_LARGE)
                yield image
    except UserError:
        raise
    except UnidentifiedImageError as err:
        raise _error(path, _unidentified(path)) from err
    except Image.DecompressionBombError as err:
        raise _error(path, TOO_LARGE) from err
    except MemoryError as err:
        raise _error(path, "too large for this machine's memory") from err
    except Exception as err:  # whatever a decoder raises for malformed bytes
        raise _error(path, "damaged, cannot be decoded", _said(err)) from err


def _error(path: Path, reason: str, detail: str = "") -> ImageError:
    text = f"{named(path)}: {reason}" + (f" ({detail})" if detail else "")
    return ImageError(text, reason, detail)


def _check_file(path: Path) -> None:
    try:
        about = path.stat()
        if stat.S_ISDIR(about.st_mode):
            raise _error(path, "a folder, not an image")
        if not stat.S_ISREG(about.st_mode):  # a pipe would block
            raise _error(path, "not a file")
        if about.st_size == 0:
            raise _error(path, "empty, 0 bytes")
        with path.open("rb"):
            pass
    except FileNotFoundError as err:
        raise _error(path, "no such file") from err
    except (OSError, ValueError) as err:  # ValueError: a name with a NUL byte
        reason = getattr(err, "strerror", None) or err
        raise _error(path, f"cannot be read ({reason})") from err


def _unidentified(path: Path) -> str:
    ending = path.suffix.lower()
    known = Image.registered_extensions().get(ending)
    if ending in UNDECODED or (known is not None and known not in FORMATS):
        return f"{ending}, an unsupported format; {SUPPORTED}"
    return f"not an image, or an unsupported format; {SUPPORTED}"


def _upright(image: Image.Image) -> Image.Image:
    try:
        is_upright = image.getexif().get(ORIENTATION) in (None, 1)
    except Exception:  # EXIF that is unreadable, as some programs write it
        is_upright = True
    return image if is_upright else ImageOps.exif_transpose(image)


def _rgb(image: Image.Image, path: Path) -> Image.Image:
    if image.mode in ("I", "F"):
        raise _error(path, "32-bit grey values, whose range is unknown; save it with 8 or 16")
    try:
        if image.has_transparency_data:
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image)
        return image.convert("RGB")
    except ValueError as err:
        raise _error(path, f"its colours are {image.mode}, not RGB, CMYK or grey") from err


def _remark(image: ImageFile.ImageFile) -> str:
    """Report content beyond the image that is read; a phone's second picture does not count."""
    frames = getattr(image, "n_frames", 1)
    if frames == 1 or image.format == "MPO":
        return ""
    return f"{frames} {'pages' if image.format == 'TIFF' else 'frames'}; the first is looked at"


def _said(err: Exception) -> str:
    return " ".join(str(err).split()) or type(err).__name__
