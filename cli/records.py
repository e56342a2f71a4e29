"""``gfl diff`` and ``gfl promote``: comparison of two records, and promotion to the reference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cli.options import RUN, SEEDS, TARGET, Json, Seeds, Where
from experiments import diff as differences
from experiments import promote as promotion
from experiments.tables import catalogue
from gfl import escape
from gfl.errors import UserError
from gfl.predictions import evaluation
from gfl.terminal import say

Compared = Annotated[str, Parameter(help=f"{RUN}; coco:table-3/QFL is of that profile; a record")]


def diff(
    a: Compared,
    b: Compared,
    /,
    *,
    seeds: Annotated[Seeds, Parameter(help="of both, or one for each; an id has its own")] = SEEDS,
    json_: Json = False,
    where: Where = Where(),
) -> int:
    """Print what differs between two runs.

    Args:
        json_: for programs
    """
    profile, store = where.found(), where.store(mend=False)
    if len(seeds) > 2:
        raise UserError(f"--seeds: two runs have at most two seeds, not {len(seeds)}")
    one, other = (
        differences.compared(name, profile.name, seed, where.gpus, store)
        for name, seed in zip((a, b), (*seeds, *seeds), strict=False)
    )
    found = differences.compare(one, other, store)
    lines = "\n".join(map(escape.terminal, found.lines()))
    say(json.dumps(found.content(), indent=2) if json_ else lines)
    return 0


def promote(
    target: Annotated[str | None, Parameter(help=TARGET)] = None,
    /,
    *,
    where: Where = Where(),
) -> int:
    """Make the finished local runs of a clean commit the reference."""
    profile, store = where.found(), where.store()
    if target and (store.runs / evaluation.FOLDER / Path(target).name).is_dir():
        raise UserError(f"{target}: {evaluation.KIND}")
    tables = catalogue.parts(target or "all")
    outcome = promotion.promote(tables, profile, store)
    for line in outcome.promoted:
        say(line)
    for line in outcome.refused:
        say(f"refused: {line}", error=True)
    if not outcome.promoted:
        return 1 if outcome.refused else 0
    from analysis.tables import tuning  # these import numpy and rich, after the checks
    from cli import artefacts

    if rewritten := tuning.refresh(profile, store):
        say("written:", ", ".join(map(str, rewritten)))
    code = artefacts.show_tables(tables, profile, store, local=False, write=True)
    return 1 if outcome.refused else code
