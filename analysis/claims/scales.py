"""``scales.md``: each claim on shapes and photographs, beside the paper, with explanations."""

from __future__ import annotations

from collections.abc import Iterator

from analysis.claims import wording
from analysis.claims.explanations import EXPLANATIONS, Explanation
from analysis.claims.verdicts import AtProfile, Verdicts
from analysis.measures.quantity import Measurement
from analysis.measures.scale import SCALE
from analysis.tables.notes import not_cocos
from analysis.text import estimate, prose_table
from experiments.profiles import LAPTOP, PHOTOS

NAME = "scales"
SHAPES, PHOTOGRAPHS = LAPTOP.name, PHOTOS.name
UNWRITTEN = "Not explained yet."


def compares(verdicts: Verdicts) -> bool:
    """Return True if there are runs at both scales."""
    return {SHAPES, PHOTOGRAPHS} <= verdicts.profiles.keys()


def markdown(verdicts: Verdicts) -> str:
    """Render the page, with explanations only beside the verdicts they were written for.

    Raises:
        KeyError: ``compares`` is False.
    """
    shapes, photographs = verdicts.profiles[SHAPES], verdicts.profiles[PHOTOGRAPHS]
    parts = [
        "# Shapes and photographs, beside the paper\n",
        "".join(
            f"- *{name}*, the {at.profile.name} profile: {len(at.records)} runs. "
            f"{not_cocos(at.profile)}\n"
            for name, at in (("Shapes", shapes), ("Photographs", photographs))
        ),
        "Verdicts are those of [`claims.md`](claims.md), which has every check with its evidence. "
        "The explanations were written after the runs: they are readings of what was measured, and "
        "no test of them was settled beforehand.\n",
        "## Where the two scales disagree\n",
        *_disagreements(shapes, photographs),
        "## What differs between them\n",
        "Of the reference runs, over the seeds whose predictions are stored, with 95 % intervals "
        "from images and seeds. *IoU lost by ranking*: the IoU of the best box among an object's "
        "positives less that of the positive with the highest score, the mean over objects; what a "
        "better quality estimate can gain there is no more. *Within objects*: Pearson's "
        "correlation of how far the two are from their means over an object's positives.\n",
        prose_table(_properties(shapes, photographs), ("", "of")),
        "## All claims\n",
        prose_table(_claims(verdicts, shapes, photographs), ("claim", "what is tested")),
    ]
    return "\n".join(parts)


def _properties(*scales: AtProfile) -> Iterator[tuple[str, ...]]:
    yield ("", "of", "shapes", "photographs")
    for name, property in SCALE.items():
        found = [at.scale.get(name) for at in scales]
        of = next((some.how for some in found if some is not None), "")
        yield (property.label, of, *(value(some, property.digits) for some in found))


def value(found: Measurement | None, digits: int) -> str:
    """Format a measurement: ``0.653 [0.645, 0.661]``; a dash if there is none."""
    return "—" if found is None else estimate(found.value, found.interval, digits)


def _claims(verdicts: Verdicts, *scales: AtProfile) -> Iterator[tuple[str, ...]]:
    yield ("claim", "what is tested", "paper", "shapes", "", "photographs", "")
    for claim in verdicts.claims:
        cells: list[str] = []
        for at in scales:
            check = at.on_runs[claim.id].deciding
            effect = "" if check is None else wording.effect(check)
            cells += [at.on_runs[claim.id].verdict, effect]
        yield (claim.id, claim.says, verdicts.on_paper[claim.id].verdict, *cells)


def disagree(shapes: AtProfile, photographs: AtProfile) -> list[str]:
    """Return the claims tested at both scales with different verdicts."""
    pairs = {
        id: (found.verdict, photographs.on_runs[id].verdict) for id, found in shapes.on_runs.items()
    }
    return [id for id, (a, b) in pairs.items() if a != b and "untested" not in (a, b)]


def _disagreements(shapes: AtProfile, photographs: AtProfile) -> Iterator[str]:
    found = disagree(shapes, photographs)
    if not found:
        yield "On no claim that both tested.\n"
    for id in found:
        verdicts = shapes.on_runs[id].verdict, photographs.on_runs[id].verdict
        why = EXPLANATIONS.get(id)
        explanation = UNWRITTEN
        if why is not None and (why.shapes, why.photographs) == verdicts:
            explanation = _filled(why, shapes, photographs)
        yield f"**{id}**: {verdicts[0]} on shapes, {verdicts[1]} on photographs. {explanation}\n"


def _filled(why: Explanation, shapes: AtProfile, photographs: AtProfile) -> str:
    """Insert measured numbers: ``{iou}`` becomes "0.87 on shapes, 0.65 on photographs"."""
    numbers = {}
    for name, property in SCALE.items():
        pair = (value(at.scale.get(name), property.digits) for at in (shapes, photographs))
        one, other = (text.split(" ")[0] for text in pair)
        numbers[name] = f"{one} on shapes, {other} on photographs"
    return why.text.format_map(numbers)
