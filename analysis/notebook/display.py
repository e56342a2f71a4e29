"""Display in notebooks: selection of records, and figures as notebook output."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import pandas as pd
from IPython.display import Image, Markdown, display
from matplotlib.figure import Figure

from analysis.figures import FIGURES
from analysis.library import Library, MissingRuns, Source
from analysis.notebook.sliders import png
from analysis.photographs import NotInData
from experiments import profiles
from experiments.queue.worker import ROOT
from gfl.errors import UserError, did_you_mean
from gfl.experiment import Profile
from gfl.records.record import Store


def opened(profile: str | None = None, source: Source | None = None) -> tuple[Library, Profile]:
    """Return the records and predictions to read, and their profile.

    By default those of the environment's ``STORE`` and ``PROFILE`` (``make lab PROFILE=gpu
    STORE=local``), else the committed ones of the laptop profile.

    Raises:
        UserError: there is no such profile or place.
    """
    place = source or os.environ.get("STORE") or "reference"
    if place not in ("reference", "local"):
        raise UserError(f"unknown store {place!r}{did_you_mean(place, ('reference', 'local'))}")
    name = profile or os.environ.get("PROFILE") or "laptop"
    store = Store(ROOT / "runs", ROOT / "results", mend=False)
    return Library(store, place), profiles.get(name)


@dataclass(frozen=True)
class FigureOutput:
    """Figure of the paper in a notebook: its picture, with its caption below.

    If runs are missing, or the profile's data cannot produce it, there is no picture, and the text
    says why. Photographs are omitted from figures, because notebooks are shared.
    """

    text: str
    picture: bytes | None  # PNG
    numbers: pd.DataFrame | None  # the plotted ones

    def _ipython_display_(self, **_: Any) -> None:
        if self.picture is not None:
            display(Image(self.picture))
        display(Markdown(self.text))


def show(name: str, library: Library, profile: Profile) -> FigureOutput:
    """Draw a figure of ``analysis.figures`` by its name.

    Raises:
        UserError: no figure has this name, or a required file is damaged.
    """
    if (figure := FIGURES.get(name)) is None:
        raise UserError(f"unknown figure {name!r}{did_you_mean(name, FIGURES)}")
    title = f"Figure {name}" if name[0].isdigit() else name.capitalize()
    try:
        drawn = figure.drawn(library, profile)
    except (MissingRuns, NotInData) as reason:
        return FigureOutput(f"**{title}** is not drawn: {reason}", None, None)
    caption = figure.caption_at(profile)
    return FigureOutput(f"**{title}.** {caption}", png(drawn.figure), drawn.numbers)


def picture(figure: Figure | None) -> Image | Markdown:
    """Return a figure as notebook output; for None, a line saying there is nothing to draw."""
    return Markdown("Nothing to draw: no runs.") if figure is None else Image(png(figure))
