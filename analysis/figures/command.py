"""``gfl figure``: draw figures and write them with the numbers they plot."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from analysis import photographs
from analysis.figures import FIGURES
from analysis.figures.figure import DrawnFigure, FigureOf
from analysis.library import Library
from analysis.photographs import NotInData
from gfl import escape
from gfl.errors import UserError, did_you_mean
from gfl.experiment import Profile
from gfl.records.record import LOCAL_SUFFIX, Store
from gfl.terminal import note, say


def parts(name: str) -> list[FigureOf]:
    """Return the figure of a name, the lettered parts of a whole one, or ``all``.

    ``2b``, ``fig2b``, ``figure-2b`` and ``Figure 2(b)`` are the same name.

    Raises:
        UserError: there is no such figure.
    """
    if name == "all":
        return list(FIGURES.values())
    key = re.sub(r"^(figure|fig)?[\s._-]*|[()]", "", name.strip().lower())
    of_number = re.compile(rf"{re.escape(key)}[a-z]?") if key.isdigit() else re.compile("(?!)")
    found = [f for n, f in FIGURES.items() if n == key or of_number.fullmatch(n)]
    if not found:
        raise UserError(f"unknown figure {name!r}{did_you_mean(key, [*FIGURES, 'all'])}")
    return found


def draw(
    names: str,
    profile: Profile,
    store: Store,
    local: bool,
    out: Path | None = None,
    data: Path | None = None,
) -> int:
    """Draw the named figures from reference or local records; return the exit code.

    Draws everything possible; then lists the others with what they lack, which is a failure
    unless no run could help. ``data`` is the folder of images that are not embedded.
    """
    images = photographs.folder(profile, data)
    library = Library(store, "local" if local else "reference", photographs=images)
    folder = out or store.results / "figures" / profile.name
    # The local figure's name is git-ignored: the committed one is the reference's.
    mark = LOCAL_SUFFIX if local and out is None else ""
    return draw_from(names, profile, library, folder, mark)


def draw_from(names: str, profile: Profile, library: Library, folder: Path, mark: str = "") -> int:
    """Draw the named figures from a library, into a folder; see ``draw``."""
    lacking: list[str] = []
    sketches: list[str] = []
    code, wanted = 0, parts(names)
    for figure in wanted:
        try:
            drawn = figure.drawn(library, profile)
        except UserError as err:
            if len(wanted) == 1:
                raise
            code = code if isinstance(err, NotInData) else 2
            lacking.append(f"figure {figure.name} is not drawn: {err}")
        else:
            _write(figure, drawn, folder, mark)
            if figure.is_sketch(profile) and drawn.photographed is None:
                sketches.append(figure.name)
    if sketches:
        say(_without_images(sketches, profile))
    for line in lacking:
        note(line)
    return code


def _without_images(names: Sequence[str], profile: Profile) -> str:
    """List the figures drawn without the images they refer to."""
    one = len(names) == 1
    figures = f"figure {names[0]} is" if one else f"figures {', '.join(names)} are"
    if profile.photos is None:
        return f"{figures} drawn without images"
    how = "DATA=/path/to/coco (or --data) draws them too, as local, git-ignored files"
    return f"{figures} drawn without the photographs, which are not here: {how}"


def draw_annotations(
    names: str, files: Sequence[Path], store: Store, out: Path | None = None
) -> int:
    """Draw the figures that need only boxes, from COCO annotation files taken together."""
    wanted = parts(names)
    if names == "all":
        wanted = [figure for figure in wanted if figure.draw_files]
    folder = out or store.results / "figures" / "annotations"
    stems = escape.file_name("+".join(path.stem for path in files))
    mark = f"-{stems}{LOCAL_SUFFIX}" if out is None else ""
    for figure in wanted:
        _write(figure, figure.of_annotations(files), folder, mark)
    return 0


def _write(figure: FigureOf, drawn: DrawnFigure, folder: Path, mark: str) -> None:
    paths = drawn.save(folder, f"fig{figure.name}{mark}")
    say(f"figure {figure.name}:", ", ".join(map(str, paths)))
