"""Splits assembled from many files, before their boxes are in normal form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gfl.data.json_values import some
from gfl.errors import UserError


@dataclass(frozen=True)
class Options:
    """Options for what a format leaves open and for broken annotations."""

    pixels_from: int | None = None  # 0 or 1, of VOC's corners; None: not given
    skip_broken: bool = False


@dataclass
class Listed:
    """Split assembled from many files, as COCO's three lists; names are below the root."""

    path: Path  # shown in messages
    dataset: dict[str, Any]
    layout: str
    remarks: list[str] = field(default_factory=list)
    where: list[str] = field(default_factory=list)  # each annotation's place in those files


def left_out(
    path: Path,
    what: str,
    problems: Sequence[str],
    options: Options,
    *,
    is_any_left: bool,
    with_image: bool = False,
) -> list[str]:
    """Describe what is dropped as broken, alone or with its image; empty without problems.

    Raises:
        UserError: the options do not allow it, or nothing would be left.
    """
    if not problems:
        return []
    its = "its image" if len(problems) == 1 else "their images"
    what = f"{what} cannot be read"
    if options.skip_broken and is_any_left:
        return [f"left out{f' with {its}' if with_image else ''}: {what}: {some(problems)}"]
    raise UserError(f"{path}: {what}: {some(problems)}", "broken left out" if is_any_left else ())
