"""Verdicts as files: ``claims.md`` and ``scales.md`` to read, ``claims.json`` for programs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from analysis.claims import scales, wording
from analysis.claims import verdict_on_paper as printed
from analysis.claims.stored import as_json
from analysis.claims.verdict_on_paper import CheckOnPaper
from analysis.claims.verdict_on_runs import CheckOnRuns
from analysis.claims.verdicts import Verdicts
from analysis.stats.correction import SOURCES
from analysis.stats.uncertainty import RESAMPLES
from analysis.text import escaped, prose_table
from experiments import profiles
from experiments.claims.declare import Claim
from gfl.records.record import LOCAL_SUFFIX

LEFT = ("claim", "what is tested", "check")  # columns of words


def files(verdicts: Verdicts) -> dict[str, str]:
    """Return the text of every file, by name under ``results``; a function of the records only."""
    end = "" if verdicts.source == "reference" else LOCAL_SUFFIX
    made = {f"claims{end}.md": markdown(verdicts), f"claims{end}.json": as_json(verdicts)}
    if scales.compares(verdicts):
        made[f"{scales.NAME}{end}.md"] = scales.markdown(verdicts)
    return made


def markdown(verdicts: Verdicts) -> str:
    """Render the verdicts: counts, the table of claims, each claim, the text's checks."""
    parts = [
        "# The paper's claims on trial\n",
        "".join(f"- {line}\n" for line in wording.summary(verdicts)),
        "## How it is decided\n",
        *_method(verdicts),
        "## All claims\n",
        prose_table(_overview(verdicts), LEFT),
        "## Claim by claim\n",
        *(part for claim in verdicts.claims for part in _details(claim, verdicts)),
        "## The text against itself\n",
        *_text_checks(verdicts),
    ]
    return "\n".join(parts)


def _method(verdicts: Verdicts) -> Iterator[str]:
    yield (
        "**By the paper's own numbers**: a check holds if the printed numbers lie within the "
        "claim's bounds by more than the noise of seeds; *holds in part* names where not. "
        f"{printed.TEXT}\n"
    )
    photographs = (
        " or `photos`, small photographs of COCO on a frozen backbone, where APS, APM and APL go "
        "by the area of boxes, not of masks"
        if profiles.PHOTOS.name in verdicts.profiles
        else ""
    )
    yield (
        "**By our runs**: the same checks on runs of this project, on embedded data at a smaller "
        f"scale unless the profile is `coco`{photographs}. Every number has the uncertainty of the "
        f"images ({RESAMPLES} bootstrap samples, the same for all runs) and of the seeds; where "
        "that of the seeds is not known, nothing is decided. A claim is "
        "*supported* or *refuted* if that is clear, else *within noise*; *untested* says what is "
        "missing. No verdict here is one on the paper's own experiments, which are of other data "
        "and larger networks.\n"
    )
    if verdicts.profiles:
        yield f"{wording.method(verdicts.profiles.values())}\n"
    for name, at in verdicts.profiles.items():
        yield f"**At {name}.** {wording.of_seeds(at)} {wording.registered(at)}\n"
    yield f"Sources: {'; '.join(SOURCES)}. In `claims.json` {wording.PRECISION}.\n"


def _overview(verdicts: Verdicts) -> Iterator[tuple[str, ...]]:
    names = list(verdicts.profiles)
    yield ("claim", "what is tested", "paper", *(x for n in names for x in (n, f"{n}: effect")))
    for claim in verdicts.claims:
        cells = []
        for at in verdicts.profiles.values():
            found = at.on_runs[claim.id]
            check = found.deciding
            cells += [found.verdict, "—" if check is None else wording.effect(check)]
        link = f"[{claim.id}](#{anchor(claim.id)})"
        yield (link, claim.says, verdicts.on_paper[claim.id].verdict, *cells)


def anchor(heading: str) -> str:
    """Return GitHub's anchor of a heading: without its dots."""
    return re.sub(r"[^\w -]", "", heading).replace(" ", "-")


def _details(claim: Claim, verdicts: Verdicts) -> Iterator[str]:
    yield f"### {claim.id}\n"
    yield "".join(f"> {quote.text} — *{quote.place}*\n>\n" for quote in claim.quotes)[:-2]
    yield f"Tested: {escaped(claim.says)}. Refuted by: {escaped(claim.refuted_by)}.\n"
    if claim.note:
        yield f"{escaped(claim.note)}\n"
    paper = verdicts.on_paper[claim.id]
    because = escaped(wording.because(paper.where))
    yield f"- **By the paper's own numbers: {paper.verdict}**{because}"
    for name, at in verdicts.profiles.items():
        found = at.on_runs[claim.id]
        because = escaped(wording.because(found.why))
        yield f"- **By the {name} runs: {found.verdict}**{wording.ps(found)}{because}"
    yield ""
    if not verdicts.profiles:
        yield prose_table(_paper_rows(paper.checks), LEFT)
    for name, at in verdicts.profiles.items():
        rows = check_rows(name, paper.checks, at.on_runs[claim.id].checks)
        yield prose_table(rows, LEFT)
        yield from _under(at.on_runs[claim.id].checks)


def _paper_rows(checks: Iterable[CheckOnPaper]) -> Iterator[tuple[str, ...]]:
    yield ("check", "claimed", "paper")
    for check in checks:
        yield (check.label, wording.bounds(check.bounds), _of_paper(check))


def check_rows(
    name: str, paper: Iterable[CheckOnPaper], ours: Iterable[CheckOnRuns]
) -> Iterator[tuple[str, ...]]:
    """Yield a row per check: the claim, the paper's number, the result of a profile's runs."""
    yield ("check", "claimed", "paper", f"{name} [95 %]", "p holds", "p fails", "seeds")
    printed = {check.label: check for check in paper}
    on_runs = {check.label: check for check in ours}
    for label in dict.fromkeys([*printed, *on_runs]):
        one, other = printed.get(label), on_runs.get(label)
        claimed = list(dict.fromkeys(wording.bounds(c.bounds) for c in (one, other) if c))
        runs = ("—",) * 4 if other is None else _of_runs(other)
        yield (label, "; here ".join(claimed), "—" if one is None else _of_paper(one), *runs)


def _of_paper(check: CheckOnPaper) -> str:
    if check.value is None:
        return check.state
    return f"{wording.number_of_any_size(check.value)}, {check.state}"


def _of_runs(check: CheckOnRuns) -> tuple[str, str, str, str]:
    ps = (check.p.holds, check.p.fails) if check.p else (None, None)
    holds, fails = ("exact",) * 2 if check.is_exact else map(wording.p_value, ps)
    return wording.effect(check), holds, fails, wording.seeds(check)


def _under(checks: tuple[CheckOnRuns, ...]) -> Iterator[str]:
    """Describe how quantities were measured, and on which runs."""
    lines = [f"- {escaped(line)}\n" for line in wording.measured(checks)]
    if runs := wording.runs(checks):
        lines.append(f"- Runs: {', '.join(f'`{run}`' for run in runs)}.\n")
    if lines:
        yield "".join(lines)


def _text_checks(verdicts: Verdicts) -> Iterator[str]:
    yield (
        "Numbers, words and captions of the paper that speak of one thing, and whether they say "
        "the same.\n"
    )
    for check in verdicts.text_checks:
        yield f"### {check.id}: {check.finding}\n"
        quotes = (f"> {quote.text} — *{quote.place}*\n" for quote in (check.one, check.other))
        yield ">\n".join(quotes)
        yield f"{escaped(check.why)}\n"
