"""Identity of a user's data set in a run's configuration, and so in its id.

Kept apart from the readers of such data: every command imports the configuration.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OwnSplit:
    """One of the two splits of a data set."""

    annotations: str  # path below the data's folder
    images: str
    sha256: str  # of the annotation file
    normal: str | None = None  # SHA-256 of its normal form, if the file itself is not in it


@dataclass(frozen=True)
class OwnSpec:
    """Data that determine a run's result: the classes, in label order, and the boxes."""

    classes: tuple[str, ...]
    train: OwnSplit
    val: OwnSplit


def normal_file(split: str) -> str:
    """Return the name, in a run's folder, of a split's annotations in normal form."""
    return f"annotations-{split}.json"
