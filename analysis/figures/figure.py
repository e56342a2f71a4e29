"""Figures as functions of records, with their plotted numbers, runs and files."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.transforms import Bbox

from analysis.figures import style
from analysis.photographs import NotInData
from gfl import escape
from gfl.errors import UserError
from gfl.experiment import Profile
from gfl.files import replacing
from gfl.records.record import LOCAL_SUFFIX

if TYPE_CHECKING:
    from analysis.library import Library

PLACES = 9  # of a position, in widths of the figure: far less than a pixel


@dataclass(frozen=True)
class DrawnFigure:
    """Drawn figure, its plotted numbers (tidy), and the ids of its runs.

    ``figure`` may be published. ``photographed`` shows the same numbers on photographs, which
    their photographers license: its files have git-ignored names in any folder.
    """

    figure: Figure
    numbers: pd.DataFrame
    runs: tuple[str, ...] = ()
    photographed: Figure | None = None

    @classmethod
    def on_images(
        cls,
        library: Library,
        profile: Profile,
        draw: Callable[[], Figure],
        sketch: Callable[[], Figure],
        numbers: pd.DataFrame,
        runs: tuple[str, ...],
    ) -> DrawnFigure:
        """Draw on embedded images; else draw the sketch, and the figure if images exist."""
        drawn = draw() if library.has_images(profile) else None
        if drawn is not None and profile.dataset is not None:
            return cls(drawn, numbers, runs)
        return cls(sketch(), numbers, runs, drawn)

    def files(self) -> dict[str, bytes]:
        """Return PNG, PDF and the numbers as CSV, by extension: without date or version."""
        return {**_images(self.figure), "csv": self.csv.encode()}

    @property
    def csv(self) -> str:
        """Return the numbers as written, to six digits."""
        numbers = self.numbers.copy()
        for name in numbers.select_dtypes(exclude="number"):
            numbers[name] = numbers[name].map(escape.csv_field)
        return numbers.to_csv(index=False, float_format="%.6g", lineterminator="\n")

    def save(self, folder: Path, stem: str) -> list[Path]:
        """Write ``<stem>.png``, ``.pdf`` and ``.csv``, and those with photographs; return paths."""
        folder.mkdir(parents=True, exist_ok=True)
        contents = {f"{stem}.{kind}": content for kind, content in self.files().items()}
        if self.photographed is not None:
            name = photographed_name(stem)
            contents |= {f"{name}.{kind}": c for kind, c in _images(self.photographed).items()}
        for name, content in contents.items():
            with replacing(folder / name) as file:
                file.write(content)
        return [folder / name for name in contents]


def photographed_name(stem: str) -> str:
    """Return the stem of files with photographs, for the reference's figure or the local one."""
    whose = "-runs" if stem.endswith(LOCAL_SUFFIX) else ""
    return f"{stem.removesuffix(LOCAL_SUFFIX)}{whose}-photographs{LOCAL_SUFFIX}"


def _images(figure: Figure) -> dict[str, bytes]:
    """Return a figure as PNG and PDF, by extension."""
    with style.applied():
        png, pdf = io.BytesIO(), io.BytesIO()
        FigureCanvasAgg(figure)
        _settle(figure)
        figure.savefig(png, format="png", metadata={"Software": None}, dpi=style.DPI)
        nothing = dict.fromkeys(("Creator", "Producer", "CreationDate"))
        figure.savefig(pdf, format="pdf", metadata=nothing, dpi=style.DPI)
    return {"png": png.getvalue(), "pdf": pdf.getvalue()}


def _settle(figure: Figure) -> None:
    """Fix a figure's layout: another pass of the layout would move things slightly.

    Its solver orders variables by their addresses, so that positions may differ in the last bit
    from process to process, and by a pixel where that bit decides: they are rounded.
    """
    if figure.get_layout_engine() is not None:
        for _ in range(2):  # the second pass knows the sizes of the first one's tick labels
            figure.draw_without_rendering()
        figure.set_layout_engine("none")
    pages: list[Figure | SubFigure] = [figure]
    for page in pages:
        pages += page.subfigs
        if isinstance(page, SubFigure):
            page.bbox_relative.set_points(page.bbox_relative.get_points().round(PLACES))
    for axes in figure.axes:
        axes.set_position(Bbox(axes.get_position(original=True).get_points().round(PLACES)))


Draw = Callable[["Library", Profile], DrawnFigure]
DrawFiles = Callable[[Sequence[Path]], DrawnFigure]


@dataclass
class FigureOf:
    """Figure of the paper, or an additional one: call it with a library and a profile.

    ``on_annotations`` registers a function that draws it from COCO annotation files, for figures
    that need no run.
    """

    name: str
    caption: str
    draw: Draw
    elsewhere: str = ""  # the caption for data that are not embedded, if different
    on_images: bool = False
    needs: str = ""  # requirement that only embedded data meet
    draw_files: DrawFiles | None = field(default=None, repr=False)

    def caption_at(self, profile: Profile) -> str:
        """Return the caption of the published figure at a profile."""
        return self.caption if profile.dataset is not None else self.elsewhere or self.caption

    def is_sketch(self, profile: Profile) -> bool:
        """Return True if published without the images it shows, which are not ours."""
        return self.on_images and profile.dataset is None

    def obstacle(self, profile: Profile) -> str:
        """Return why no run of a profile can produce the figure; empty if one can."""
        if not self.needs or profile.dataset is not None:
            return ""
        return f"it needs {self.needs}, which embedded data alone have"

    def __call__(self, library: Library, profile: Profile) -> Figure:
        """Return the figure.

        Raises:
            UserError: records are missing; names them, and the command that makes them.
        """
        return self.drawn(library, profile).figure

    def drawn(self, library: Library, profile: Profile) -> DrawnFigure:
        """Return the figure with its numbers and its runs.

        Raises:
            NotInData: the profile's data cannot produce it, whatever runs there are.
            UserError: as for a call.
        """
        if reason := self.obstacle(profile):
            raise NotInData(f"{reason}: take --profile laptop or gpu")
        with style.applied():
            return self.draw(library, profile)

    def of_annotations(self, files: Sequence[Path]) -> DrawnFigure:
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
        """Register the function that draws the figure from annotation files."""
        self.draw_files = draw_files
        return draw_files


FIGURES: dict[str, FigureOf] = {}  # in the order of declaration


def figure(
    name: str, caption: str, elsewhere: str = "", on_images: bool = False, needs: str = ""
) -> Callable[[Draw], FigureOf]:
    """Declare a figure: ``@figure("2b", "What it shows.")`` above a function that draws it."""

    def declare(draw: Draw) -> FigureOf:
        if name in FIGURES:
            raise ValueError(f"two figures are named {name!r}")
        FIGURES[name] = FigureOf(name, caption, draw, elsewhere, on_images, needs)
        return FIGURES[name]

    return declare
