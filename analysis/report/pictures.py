"""Figures embedded in the page: lossless WebP in the page's own text."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from analysis.figures import FIGURES
from analysis.figures.figure import FigureOf
from gfl.experiment import Profile
from gfl.records.record import LOCAL_SUFFIX, Store

EFFORT = 4  # of WebP's 0 to 6; higher values shrink files little and take several times as long


@dataclass(frozen=True)
class Picture:
    """Figure with its description, and its file's content or how to make it."""

    id: str
    title: str  # "Figure 2(b)"
    caption: str
    data: str  # a data: URL; empty if it is not drawn
    width: int
    height: int
    numbers: str  # the file of its plotted numbers
    command: str
    obstacle: str = ""  # why no run of the profile can produce it
    note: str = ""  # what it is drawn without, and the command that adds it

    @property
    def wide(self) -> bool:
        """True if it spans the page, not a column."""
        return self.width > 1.4 * self.height


def options(profile: Profile, local: bool) -> str:
    """Return the ``make`` options that select this profile, or local runs."""
    where = "" if profile.name == "laptop" else f" PROFILE={profile.name}"
    return where + (" STORE=local" if local else "")


def pictures(profile: Profile, store: Store, local: bool) -> Iterator[Picture]:
    """Yield every declared figure, drawn or not."""
    mark = LOCAL_SUFFIX if local else ""
    for name, figure in FIGURES.items():
        path = store.results / "figures" / profile.name / f"fig{name}{mark}.png"
        data, size = _data(path) if path.is_file() else ("", (0, 0))
        yield Picture(
            id=f"figure-{name}",
            title=title(name),
            caption=figure.caption_at(profile),
            data=data,
            width=size[0],
            height=size[1],
            numbers=f"results/figures/{profile.name}/fig{name}{mark}.csv",
            command=f"make figure-{name}{options(profile, local)}",
            obstacle=figure.obstacle(profile),
            note=_without_images(figure, profile, local),
        )


def _without_images(figure: FigureOf, profile: Profile, local: bool) -> str:
    if not figure.is_sketch(profile):
        return ""
    if profile.photos is None:
        return "Drawn without images."
    command = f"make figure-{figure.name}{options(profile, local)} DATA=/path/to/coco"
    return (
        "Drawn without the photographs, which their photographers license: "
        f"{command} draws them too, where they are."
    )


def title(name: str) -> str:
    """Return ``Figure 2(b)`` for ``2b``, ``Calibration`` for an additional figure."""
    match = re.fullmatch(r"(\d+)([a-z]?)", name)
    if match is None:
        return name.capitalize()
    return f"Figure {match[1]}" + (f"({match[2]})" if match[2] else "")


def _data(path: Path) -> tuple[str, tuple[int, int]]:
    out = io.BytesIO()
    with Image.open(path) as image:
        # Figures are opaque; transparent parts would vanish on a dark page.
        image.convert("RGB").save(out, "webp", lossless=True, quality=80, method=EFFORT)
        size = image.size
    return f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}", size
