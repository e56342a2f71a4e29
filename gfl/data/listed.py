"""A split that is put together from many files, before its boxes are in normal form."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Listed:
    """A split put together from many files, as COCO's three lists; names are below the root."""

    path: Path  # what messages name
    dataset: dict[str, Any]
    layout: str
    remarks: list[str] = field(default_factory=list)
    where: list[str] = field(default_factory=list)  # each annotation's place in those files
