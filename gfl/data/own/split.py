"""One of a data set's two splits, however its format keeps it on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gfl.data.identified import file_name
from gfl.data.json_values import some
from gfl.errors import UserError


@dataclass(frozen=True)
class Options:
    """Options for what a format leaves open and for broken annotations."""

    pixels_from: int | None = None  # 0 or 1, of VOC's corners; None: not given
    skip_broken: bool = False


@dataclass
class Split:
    """Annotations of a split, as they stand and then in normal form, and where its images lie."""

    name: str  # "train" or "val"
    path: Path  # shown in messages
    folder: Path  # of the images
    dataset: dict[str, Any]
    sha256: str
    layout: str | None = None  # of the boxes, if the format defines it
    changed: bool = False  # not the content of one file, to the letter
    remarks: list[str] = field(default_factory=list)
    where: Mapping[int, str] = field(default_factory=dict)  # the file and line of an annotation

    @property
    def names(self) -> list[str | None]:
        """Return each image's file name from the annotations."""
        return [file_name(image) for image in self.dataset["images"]]

    def change(self, dataset: dict[str, Any], remarks: Sequence[str] = ()) -> None:
        """Replace the annotations, if others are given."""
        self.changed |= dataset is not self.dataset
        self.dataset = dataset
        self.remarks += remarks


def assembled(
    root: Path,
    name: str,
    path: Path,
    dataset: dict[str, Any],
    layout: str,
    remarks: list[str],
    where: Sequence[str],
) -> Split:
    """Return a split that many files describe, with image names below the root.

    ``where`` is each annotation's place in those files. The checksum is that of their content.
    """
    content = json.dumps(dataset, sort_keys=True).encode()
    digest = hashlib.sha256(content).hexdigest()
    return Split(
        name, path, root, dataset, digest, layout, True, remarks, dict(enumerate(where, 1))
    )


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
