"""Assembly of one profile's page: its content, and the text of the file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from analysis.claims import stored
from analysis.errors.runs import gather
from analysis.library import Library
from analysis.report import bundle, evidence, lists, pictures, runs, table_views
from analysis.report.formulas import plain
from analysis.speed.record import paths as benchmark_files
from experiments.tables import catalogue
from gfl import escape
from gfl.data.features.frozen import NETWORKS
from gfl.errors import UserError
from gfl.experiment import Profile
from gfl.records.record import LOCAL_SUFFIX, RunRecord, Store

TEMPLATES = Path(__file__).parent / "templates"
OPTIMIZERS = {"adamw": "AdamW", "sgd": "SGD"}


@dataclass(frozen=True)
class Step:
    """Command that regenerates a part of the page."""

    part: str
    command: str
    note: str = ""


def html(profile: Profile, store: Store, local: bool) -> str:
    """Return the page of a profile's reference or local runs.

    The same input gives the same text: the page contains no time of creation.

    Raises:
        UserError: ``results/claims.json`` is missing or is of other records.
    """
    declared = list(catalogue.TABLES.values())
    views, cells = table_views.views(declared, profile, store, local)
    cards = runs.cards(cells)
    records = list({r.id: r for cell in cells for r in cell.records.values()}.values())
    papers = list({r.id: r for cell in cells if not cell.filled.cell.row.is_extra
                   for r in cell.records.values()}.values())  # fmt: skip
    ids, slugs = {record.id for record in papers}, {card.slug for card in cards}
    verdicts = stored.of_records(store, "local" if local else "reference", [profile.name], ids)
    drawn = list(pictures.pictures(profile, store, local))
    return _render(
        made_of=made_of(profile.name, store, local),
        profile=profile,
        facts=list(_facts(profile, papers, len(records) - len(papers))),
        local=local,
        held=len(papers),
        verdicts=evidence.show(verdicts, profile.name, slugs),
        tables=views,
        steps_of_gap=table_views.STEPS,
        pictures=drawn,
        errors=_errors(profile, store, local),
        benchmarks=lists.speed(store),
        cards=cards,
        metrics=[runs.NAMES.get(name, name) for name in runs.METRICS],
        environment=runs.environment(records),
        steps=list(_steps(profile, views, drawn, local)),
    )


def _errors(profile: Profile, store: Store, local: bool) -> list[lists.Titled]:
    """List the errors by kind; empty without detections or matches."""
    with suppress(UserError):
        library = Library(store, "local" if local else "reference")
        return lists.errors_by_kind(gather(profile, library))
    return []


def made_of(profile: str, store: Store, local: bool) -> str:
    """Return one checksum of every file of results or runs that a page shows.

    A test compares the committed page's with the committed files': this takes a tenth of a second,
    regenerating the page several.
    """
    mark = LOCAL_SUFFIX if local else ""
    results = store.results
    ids = (store.local_ids if local else store.reference_ids)(profile)
    named = {"claims": [results / f"claims{mark}.json"]}
    named["benchmarks"] = benchmark_files(store)
    named["figures"] = [
        results / "figures" / profile / f"fig{name}{mark}.png" for name in pictures.FIGURES
    ]
    named["runs"] = [
        store.run_dir(profile, id) / "record.json" if local else store.reference_path(profile, id)
        for id in ids
    ]
    total = hashlib.sha256()
    for part, paths in named.items():
        for one in paths:
            content = one.read_bytes() if one.is_file() else b""
            total.update(f"{part} {one.name} {hashlib.sha256(content).hexdigest()}\n".encode())
    return total.hexdigest()


def _render(**content: Any) -> str:
    """Fill the template: every string is escaped, and only our own scripts may run."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=escape.html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"plain": plain, "identifier": table_views.identifier}
    scripts = {
        "theme": bundle.inert(_own("theme.js")),
        "datatables": bundle.datatables(),
        "report": bundle.inert(_own("report.js")),
    }
    return environment.get_template("report.html.j2").render(
        **content,
        style=Markup(_own("style.css")),
        scripts={name: Markup(text) for name, text in scripts.items()},
        sources=[bundle.source(text) for text in scripts.values()],
    )


def _own(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _facts(
    profile: Profile, records: Sequence[RunRecord], others: int
) -> Iterator[tuple[str, str]]:
    """Yield the scale of the runs, for the page header; ``others`` are not of the paper's rows."""
    data, schedule, model = profile.dataset, profile.schedule, profile.model
    size = " × ".join(map(str, sorted(profile.scale, reverse=True)))
    if (photographs := profile.photos) is not None:
        where = f"{photographs.train:,} to train on, {photographs.val:,} to validate on"
        yield (
            "Data",
            f"{', '.join(photographs.classes)} in photographs of COCO 2017 val: {where}, "
            f"{photographs.size} px at most; small, medium and large by the area of boxes",
        )
    elif data is None:
        yield "Data", f"COCO, images of {size} px at most"
    else:
        where = f"{data.train:,} images to train on, {data.val:,} to validate on"
        yield "Data", f"embedded shapes, not COCO: {where}, {size} px"
    start = "pretrained on ImageNet" if model.pretrained else "from scratch"
    backbone = f"ResNet-{model.depth} of {model.base_channels} first channels, {start}"
    if model.frozen:
        backbone = f"{NETWORKS[model.frozen].about}, and frozen"
    yield (
        "Network",
        f"{backbone}; "
        f"{model.levels} levels from P{model.first_level} on, {model.channels} channels",
    )
    yield (
        "Training",
        f"{schedule.epochs} epochs, batch {schedule.batch}, {OPTIMIZERS[schedule.optimizer]}, "
        f"learning rate {schedule.lr:g}, {schedule.precision}",
    )
    seeds = sorted({record.seed for record in records})
    named = f", seeds {', '.join(map(str, seeds))}" if seeds else ""
    beside = f"; {others} of rows not in the paper" if others else ""
    yield "Runs", f"{len(records)}{named}{beside}"
    if machines := sorted({runs.machine(record) for record in records}):
        yield "Hardware", "; ".join(machines)


def _steps(
    profile: Profile,
    views: Sequence[table_views.View],
    drawn: Sequence[pictures.Picture],
    local: bool,
) -> Iterator[Step]:
    """Yield the commands that regenerate each part, from the declarations."""
    where, options = pictures.options(profile, False), pictures.options(profile, local)
    whose = options.removeprefix(where)
    for view in views:
        if view.command:
            yield Step(f"{view.title}, trained from scratch", view.command, view.command_note)
    yield Step("The runs as the reference", f"make promote{where}")
    for picture in drawn:
        if not picture.obstacle:
            yield Step(picture.title, picture.command)
    yield Step("Claims, text checks", f"make audit{whose}", "from the records, trains nothing")
    yield Step("Errors by kind", f"make errors{options}")
    yield Step("Speed", "make bench")
    yield Step("This page", f"make report{options}")
