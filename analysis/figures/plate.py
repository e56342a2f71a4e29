"""What a figure is: a function of records, the numbers it plots, the runs it used, its files."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis import style
from gfl import escape
from gfl.errors import UserError
from gfl.experiment import Profile
from gfl.files import replacing

if TYPE_CHECKING:
    from analysis.library import Library


@dataclass(frozen=True)
class Plate:
    """A figure as drawn, the numbers that it plots (tidy), and the ids of the runs it used."""

    figure: Figure
    numbers: pd.DataFrame
    runs: tuple[str, ...] = ()

    def files(self) -> dict[str, bytes]:
        """The figure as PNG and PDF and its numbers as CSV, by extension: no date, no version."""
        with style.applied():
            png, pdf = io.BytesIO(), io.BytesIO()
            FigureCanvasAgg(self.figure)
            self._settle()
            self.figure.savefig(png, format="png", metadata={"Software": None}, dpi=style.DPI)
            nothing = dict.fromkeys(("Creator", "Producer", "CreationDate"))
            self.figure.savefig(pdf, format="pdf", metadata=nothing, dpi=style.DPI)
        return {"png": png.getvalue(), "pdf": pdf.getvalue(), "csv": self.csv.encode()}

    @property
    def csv(self) -> str:
        """The numbers as they are written, in six digits."""
        numbers = self.numbers.copy()
        for name in numbers.select_dtypes(exclude="number"):
            numbers[name] = numbers[name].map(escape.csv_field)
        return numbers.to_csv(index=False, float_format="%.6g", lineterminator="\n")

    def _settle(self) -> None:
        """Lay the figure out once for all: the layout's next pass would move things a little."""
        if self.figure.get_layout_engine() is not None:
            for _ in range(2):  # the second pass knows the sizes of the first one's tick labels
                self.figure.draw_without_rendering()
            self.figure.set_layout_engine("none")

    def save(self, folder: Path, stem: str) -> list[Path]:
        """Write ``<stem>.png``, ``.pdf`` and ``.csv``; return their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for extension, content in self.files().items():
            with replacing(folder / f"{stem}.{extension}") as file:
                file.write(content)
            written.append(folder / f"{stem}.{extension}")
        return written


Draw = Callable[["Library", Profile], Plate]
DrawFiles = Callable[[Sequence[Path]], Plate]


@dataclass
class FigureOf:
    """A figure of the paper, or beyond it: called with a library and a profile, it is drawn.

    ``on_annotations`` makes a function of the paths of COCO annotation files the figure of these:
    of one that needs no run at all.
    """

    name: str
    caption: str
    draw: Draw
    draw_files: DrawFiles | None = field(default=None, repr=False)

    def __call__(self, library: Library, profile: Profile) -> Figure:
        """Return the figure.

        Raises:
            UserError: records are missing; names which, and the command that makes them.
        """
        return self.plate(library, profile).figure

    def plate(self, library: Library, profile: Profile) -> Plate:
        """Return the figure with its numbers and its runs; raises what a call does."""
        with style.applied():
            return self.draw(library, profile)

    def of_annotations(self, files: Sequence[Path]) -> Plate:
        """Return the figure of COCO annotation files, taken together.

        Raises:
            UserError: a file is not COCO's, or the figure needs a model.
        """
        if self.draw_files is None:
            able = sorted(name for name, other in FIGURES.items() if other.draw_files)
            raise UserError(
                f"figure {self.name} needs a model or no data at all; of annotations alone are "
                f"drawn: {', '.join(able)}"
            )
        with style.applied():
            return self.draw_files(files)

    def on_annotations(self, draw_files: DrawFiles) -> DrawFiles:
        """Declare how the figure is drawn of annotation files."""
        self.draw_files = draw_files
        return draw_files


FIGURES: dict[str, FigureOf] = {}  # in the order in which they were declared


def figure(name: str, caption: str) -> Callable[[Draw], FigureOf]:
    """Declare a figure: ``@figure("2b", "What it shows.")`` above a function that draws it."""

    def declare(draw: Draw) -> FigureOf:
        if name in FIGURES:
            raise ValueError(f"two figures are named {name!r}")
        FIGURES[name] = FigureOf(name, caption, draw)
        return FIGURES[name]

    return declare
