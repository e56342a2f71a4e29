"""Output of the verdicts on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis.claims import wording
from analysis.claims.render import check_rows
from analysis.claims.verdicts import Verdicts
from analysis.tables.terminal import paragraph, screen
from experiments.claims.declare import Claim
from gfl.terminal import legible

STYLES = {
    "holds": "green", "supported": "green", "does not hold": "red", "refuted": "red",
    "holds in part": "yellow", "within noise": "yellow",
}  # fmt: skip


def show(verdicts: Verdicts, console: Console | None = None) -> None:
    """Print every claim with its verdicts and their basis; the counts below."""
    console = console or screen()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("claim", no_wrap=True)
    table.add_column("paper", no_wrap=True)
    for name in verdicts.profiles:
        table.add_column(name, no_wrap=True)
        table.add_column("effect [95 %]", no_wrap=True)
        table.add_column("p, corrected", no_wrap=True)
    for claim in verdicts.claims:
        printed = verdicts.on_paper[claim.id].verdict
        cells = [Text(claim.id), _coloured(printed)]
        for at in verdicts.profiles.values():
            found = at.on_runs[claim.id]
            check = found.deciding
            cells += [
                _coloured(found.verdict),
                Text(legible("—" if check is None else wording.effect(check))),
                Text(legible(wording.p_value(found.p_corrected))),
            ]
        table.add_row(*cells)
    console.print(table)
    console.print()
    for line in wording.summary(verdicts):
        paragraph(console, line)


def show_claim(claim: Claim, verdicts: Verdicts, console: Console | None = None) -> None:
    """Print one claim: its quotes and reading, both verdicts, and the evidence, check by check."""
    console = console or screen()
    console.print(legible(claim.id), style="bold")
    for quote in claim.quotes:
        paragraph(console, f"“{quote.text}” ({quote.place})")
    paragraph(console, f"Tested: {claim.says}. Refuted by: {claim.refuted_by}.")
    if claim.note:
        paragraph(console, claim.note)
    paper = verdicts.on_paper[claim.id]
    console.print()
    paragraph(console, f"By the paper's own numbers: {paper.verdict}{wording.because(paper.where)}")
    for name, at in verdicts.profiles.items():
        found = at.on_runs[claim.id]
        console.print()
        verdict = f"{found.verdict}{wording.ps(found)}"
        paragraph(console, f"By the {name} runs: {verdict}{wording.because(found.why)}")
        paragraph(console, f"Its reading at {name} {wording.registered_reading(claim.id, at)}.")
        header, *rows = check_rows(name, paper.checks, found.checks)
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for column in header:
            table.add_column(legible(column), overflow="fold")
        for row in rows:
            table.add_row(*map(legible, row))
        console.print(table)
        for line in wording.measured(found.checks):
            paragraph(console, line)
        if runs := wording.runs(found.checks):
            paragraph(console, f"Runs: {', '.join(runs)}.")


def _coloured(verdict: str) -> Text:
    return Text(verdict, style=STYLES.get(verdict, "dim"))
