"""Output of the verdicts on the terminal."""

from __future__ import annotations

import textwrap

from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis.claims import wording
from analysis.claims.verdicts import Verdicts
from analysis.tables.terminal import WIDEST_TEXT, screen
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
        text = textwrap.fill(legible(line), min(console.width, WIDEST_TEXT), break_long_words=False)
        console.print(text, soft_wrap=True)


def _coloured(verdict: str) -> Text:
    return Text(verdict, style=STYLES.get(verdict, "dim"))
