"""Errors of every run as Markdown and tidy CSV: ``gfl errors``."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from analysis import text
from analysis.errors.runs import ALL, IOUS, Line, Report, gather
from analysis.library import Library
from analysis.stats import uncertainty
from analysis.stats.uncertainty import Estimate, SeedMean
from analysis.tables.notes import NOT_PAPERS, not_cocos
from analysis.tables.render import numbers
from experiments.matrix import write_all
from experiments.tables.declare import EXTRA
from gfl import escape
from gfl.data import photos
from gfl.data.annotations import read
from gfl.experiment import Profile
from gfl.predictions.error_kinds import BACKGROUND
from gfl.records.record import LOCAL_SUFFIX, Store
from gfl.terminal import say

FIELDS: tuple[str, ...] = (
    "rows", "experiment", "base", "iou", "measure", "kind", "value", "sd", "lower", "upper", "n",
    "seeds",
)  # fmt: skip


def write(profile: Profile, store: Store, local: bool, annotations: Path | None = None) -> int:
    """Print the errors of the reference's or the local runs, and write them; return the exit code.

    ``annotations`` are those of a profile without embedded data, for runs without matches.

    Raises:
        UserError: no run has detections, or their ground truth is missing.
    """
    library = Library(store, "local" if local else "reference", _truth(profile, annotations))
    report = gather(profile, library)
    page = markdown(report, profile)
    say(page)
    folder = store.results / "errors"
    # The local file's name is git-ignored: the committed one is the reference's.
    stem = profile.name + (LOCAL_SUFFIX if local else "")
    write_all({folder / f"{stem}.md": page, folder / f"{stem}.csv": tidy_csv(report)})
    return 0


def _truth(profile: Profile, annotations: Path | None) -> dict[str, Any] | None:
    """Return the annotation file's content, if needed and given."""
    if profile.dataset is not None or annotations is None:
        return None
    return photos.validation(read(annotations), profile.photos)


def tidy_csv(report: Report) -> str:
    """Return a number per line: AP, detections, and each kind's count and oracle gain.

    With a ``base``: ``experiment``'s gain less the base's, with its 95 % interval.
    """
    lines: list[dict[str, str]] = []
    for line in report.lines:
        where = {"rows": "; ".join(line.rows), "experiment": line.experiment.slug}
        for iou in IOUS:
            at = where | {"iou": f"{iou:g}"}
            for measure, kind, value in _measures(line, iou):
                lines.append(at | {"measure": measure, "kind": kind} | numbers(value))
    for repair in report.repairs():
        where = {"rows": repair.name, "experiment": repair.ours.slug, "base": repair.base.slug}
        for (iou, kind), difference in repair.gains.items():
            at = where | {"iou": f"{iou:g}", "measure": "gain", "kind": kind}
            lines.append(at | numbers(difference))
    return text.tidy_csv(FIELDS, lines)


def _measures(line: Line, iou: float) -> Iterator[tuple[str, str, SeedMean]]:
    found: list[tuple[str, str, SeedMean | None]] = [("AP", "", line.ap(iou))]
    found.append(("detections", "", line.detections(iou)))
    found += [("count", kind, line.count(kind, iou)) for kind in ALL]
    found += [("gain", kind, line.gain(kind, iou)) for kind in ALL]
    yield from ((measure, kind, value) for measure, kind, value in found if value is not None)


ABOUT = """\
How many errors of each kind a run makes, and ΔAP: by how many points AP at that IoU would rise if
an oracle repaired all of that kind and nothing else. The kinds and their oracles are TIDE's (Bolya
et al., ECCV 2020), t_f the IoU named and t_b = {background:g}; AP and matches are pycocotools'. The
gains of several kinds do not add up. A run that says more at low scores has more errors and may
lose nothing by them, so ΔAP is what counts.

TIDE's own IoU is 0.5. What a better box gains is seen at 0.75, where only a good box hits.

Means over seeds ± their standard deviation; n is the number of seeds. An experiment stands once,
with every row of the tables that it is.
"""


def markdown(report: Report, profile: Profile) -> str:
    """Render the tables: gains and counts, at each IoU, then the repairs."""
    parts = [f"# Detection errors by kind ({profile.name} profile)\n"]
    parts.append(ABOUT.format(background=BACKGROUND))
    if data := not_cocos(profile):
        parts.append(f"{data}\n")
    if profile.photos is not None and len(profile.photos.classes) == 1:
        parts.append("With one class, no error is one of classification, or of both.\n")
    parts += list(_repaired(report))
    for iou in IOUS:
        parts.append(f"## ΔAP{100 * iou:.0f} by kind\n")
        parts.append(_table(report, iou, f"AP{100 * iou:.0f}", Line.ap, Line.gain, 2))
    for iou in IOUS:
        parts.append(f"## Errors by kind, at an IoU of {iou:g}\n")
        parts.append(_table(report, iou, "detections", Line.detections, Line.count, 0))
    if any(row.endswith(NOT_PAPERS) for line in report.lines for row in line.rows):
        parts.append(f"{NOT_PAPERS} not in the paper: declared in {EXTRA}.\n")
    if report.without:
        parts.append(f"Without detections here: {', '.join(report.without)}.\n")
    return "\n".join(parts)


def _table(
    report: Report,
    iou: float,
    first: str,
    lead: Callable[[Line, float], SeedMean | None],
    each: Callable[[Line, str, float], SeedMean | None],
    digits: int,
) -> str:
    rows: list[tuple[str, ...]] = [("rows", "n", first, *ALL)]
    for line in report.lines:
        seeds = len(line.found[iou])
        measures = [lead(line, iou), *(each(line, kind, iou) for kind in ALL)]
        names = "; ".join(map(escape.markdown, line.rows))
        rows.append((names, str(seeds), *(_text(f, digits) for f in measures)))
    return text.table(rows, "lr")


def _repaired(report: Report) -> Iterator[str]:
    repairs = list(report.repairs())
    if not repairs:
        return
    yield "## What QFL and DFL repair\n"
    yield (
        "How much more (+) or less (-) the errors of a kind cost with it than without, in points "
        f"of AP: the mean over the seeds that both have, {uncertainty.METHOD}. Not corrected for "
        f"the {len(repairs) * len(ALL) * len(IOUS)} differences looked at: about one "
        "in twenty would be clear of 0 by chance alone.\n"
    )
    for iou in IOUS:
        yield f"At an IoU of {iou:g}:\n"
        rows: list[tuple[str, ...]] = [("", "n", *ALL)]
        for repair in repairs:
            found = [repair.gains.get((iou, kind)) for kind in ALL]
            seeds = max((len(d.seeds) for d in found if d), default=0)
            rows.append((repair.name, str(seeds), *map(_difference, found)))
        yield text.table(rows, "lr")
    yield "Kinds of errors that cost clearly less or more, the interval being clear of 0:\n"
    yield "".join(
        f"- {repair.name}: {'; '.join(f'at {iou:g} {repair.text(iou)}' for iou in IOUS)}.\n"
        for repair in repairs
    )


def _text(value: SeedMean | None, digits: int) -> str:
    if value is None or math.isnan(value.mean):
        return text.NONE
    return text.mean(value.mean, value.spread, digits)


def _difference(found: Estimate | None) -> str:
    if found is None or math.isnan(found.value):
        return text.NONE
    printed = text.signed(found.value, found.interval, 2)
    return f"**{printed}**" if found.is_clear else printed
