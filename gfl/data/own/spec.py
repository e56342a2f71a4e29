"""A data set of one's own, as it stands in a run's configuration and so in its id.

Apart from what reads such data: every command imports the configuration.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OwnSplit:
    """One of the two parts of a data set."""

    annotations: str  # path below the data's folder
    images: str
    sha256: str  # of the annotation file
    normal: str | None = None  # SHA-256 of its normal form, where it is not in that itself


@dataclass(frozen=True)
class OwnSpec:
    """What a run's result owes to its data: the classes, in the labels' order, and the boxes."""

    classes: tuple[str, ...]
    train: OwnSplit
    val: OwnSplit


def normal_file(split: str) -> str:
    """Return the name, in a run's folder, of a split's annotations in normal form."""
    return f"annotations-{split}.json"
