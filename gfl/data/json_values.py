"""JSON from other programs: decoded from any Unicode encoding, its values interpreted leniently.

Imports neither torch nor mmdet, like everything that a command needs before it answers.
"""

from __future__ import annotations

import codecs
import json
import os
import re
from collections import defaultdict
from collections.abc import Sequence
from numbers import Real
from pathlib import Path
from typing import Any, TypeGuard

from gfl import escape
from gfl.errors import UserError

WIDEST = 80  # columns of an id or a name in a message
LARGEST = 1e12  # numbers that are plausible for a box, an area or a score are smaller
EXACT = 1 << 53  # ids pass through pycocotools' arrays of floats
WHOLE = re.compile(r"[+-]?[0-9]{1,18}(?:\.0+)?")
# The test of an abstract type takes ten times as long as those of its own.
NUMERIC = (float, int, Real)
TRUTHS = {"0": 0, "1": 1, "false": 0, "true": 1, "no": 0, "yes": 1, "": 0}

Key = int | str
Found = defaultdict[str, list[object]]  # problem -> ids or names of its cases


def read_json(path: Path) -> Any:
    """Return a JSON file's content; detects UTF-8 and UTF-16, with or without a byte order mark.

    Raises:
        UserError: the file cannot be read or is not JSON; names it and the reason.
    """
    try:
        with path.open("rb") as file:
            return json.load(file)
    except OSError as error:
        raise UserError(unreadable(path, error)) from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not JSON: byte {error.start} is not {error.encoding}; save it as UTF-8"
        ) from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {error}") from None


def is_plain(path: Path) -> bool:
    """Return whether every reader decodes a JSON file's bytes as UTF-8: no mark, no UTF-16."""
    with path.open("rb") as file:
        start = file.read(4)
    return not start.startswith(codecs.BOM_UTF8) and json.detect_encoding(start) == "utf-8"


def unreadable(path: Path, error: OSError, slash: str = "") -> str:
    """Explain why a file or folder cannot be read; a missing one may be a broken link."""
    if not isinstance(error, FileNotFoundError):
        return f"{path}{slash} cannot be read: {error.strerror}"
    if path.is_symlink():
        return f"{path} is a link to {os.readlink(path)}, which is missing"
    return f"{path}{slash} is missing"


def some(things: Sequence[object], most: int = escape.MOST_NAMED) -> str:
    """Return the first few ids or names of a list as text, and the number of the others."""
    return escape.some(things, most, columns=WIDEST)


def sentences(found: Found) -> list[str]:
    """Return the problems as sentences, each with its number of cases and the first few."""
    return [f"has {len(which)} x {what}: {some(which)}" for what, which in found.items() if which]


def is_number(x: object) -> TypeGuard[float]:
    """Return whether x is a finite number of plausible size for a box, an area or a score."""
    # Comparisons with NaN are false.
    return isinstance(x, NUMERIC) and bool(x < LARGEST and not x < -LARGEST)


def is_above_0(x: object) -> TypeGuard[float]:
    """Return whether x is a finite number above 0."""
    return is_number(x) and x > 0


def is_in(x: object, ids: set[int]) -> bool:
    """Return whether x, of any type, hashable or not, is one of the ids."""
    return isinstance(x, NUMERIC) and x in ids


def key(x: object) -> Key | None:
    """Return a normalised identifier: 7 for 7, 7.0, "7" and "007"; other text unchanged."""
    if isinstance(x, int):
        return int(x)
    if isinstance(x, float):
        return int(x) if x.is_integer() else None  # neither NaN nor infinity is an integer
    if isinstance(x, str) and (text := x.strip()):
        return int(text.partition(".")[0]) if WHOLE.fullmatch(text) else text
    return None


def number(x: object) -> float | int | None:
    """Return a finite number, also if written as text; None for anything else."""
    if isinstance(x, str):
        try:
            x = float(x)
        except ValueError:
            return None
    return x if isinstance(x, (int, float)) and is_number(x) else None


def flag(x: object) -> int | None:
    """Return 0 or 1 for values that mean no or yes, 0 for null or empty; None for anything else."""
    if x is None:
        return 0
    if isinstance(x, str):
        return TRUTHS.get(x.strip().lower())
    return int(x) if isinstance(x, (int, float)) and x in (0, 1) else None
