"""Claims with their verdicts, for a profile's page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from analysis.claims import wording
from analysis.claims.verdict_on_paper import TEXT, VerdictOnPaper
from analysis.claims.verdict_on_runs import VerdictOnRuns
from analysis.claims.verdicts import AtProfile, Verdicts
from analysis.report.checks import Row, joined, p_text
from analysis.report.drawn import Scale
from analysis.report.table_views import identifier
from analysis.stats.correction import METHOD
from experiments.claims.declare import Claim, TextCheck

# Every verdict with its sign, so that colour is never the only cue, and its colour class.
PRINTED = {
    "holds": ("✓", "good"),
    "holds in part": ("◐", "part"),
    "does not hold": ("✕", "bad"),
    "not decidable": ("?", "open"),
}
OURS = {
    "supported": ("✓", "good"),
    "refuted": ("✕", "bad"),
    "within noise": ("≈", "open"),
    "untested": ("–", "none"),
}
FINDINGS = {"agree": ("✓", "good"), "disagree": ("✕", "bad"), "unclear": ("?", "open")}
NOT_RUN = VerdictOnRuns("untested", "no run at this profile", ())


@dataclass(frozen=True)
class Chip:
    """Verdict with its sign."""

    text: str
    sign: str
    kind: str  # good, part, bad, open, none


@dataclass(frozen=True)
class Evidence:
    """A claim of the paper with both verdicts, and its checks as rows on a scale."""

    claim: Claim
    number: int
    on_paper: VerdictOnPaper
    on_runs: VerdictOnRuns
    checks: tuple[Row, ...]
    scale: Scale | None

    @property
    def id(self) -> str:
        return identifier("claim", self.claim.id)

    @property
    def printed(self) -> Chip:
        return chip(self.on_paper.verdict, PRINTED)

    @property
    def ours(self) -> Chip:
        return chip(self.on_runs.verdict, OURS)

    @property
    def p(self) -> str:
        return p_text(self.on_runs.p)

    @property
    def p_corrected(self) -> str:
        return p_text(self.on_runs.p_corrected)

    @property
    def p_order(self) -> str:
        """Sort key of the list; empty for an untested claim."""
        found = self.on_runs.p_corrected
        return "" if found is None else repr(float(found))

    @property
    def lead(self) -> Row | None:
        """Check that decides the verdict on our runs."""
        deciding = self.on_runs.deciding
        return next((row for row in self.checks if deciding and row.label == deciding.label), None)


@dataclass(frozen=True)
class ClaimsView:
    """All verdicts for one profile's page."""

    claims: tuple[Evidence, ...]
    text_checks: tuple[tuple[TextCheck, Chip], ...]
    at: AtProfile | None  # None: no run at the profile

    correction = METHOD
    noise_of_the_paper = TEXT

    @property
    def tested(self) -> int | None:
        return None if self.at is None else self.at.tested

    @property
    def seed_noise(self) -> str:
        """Spread of each metric over seeds."""
        return "" if self.at is None else wording.of_seeds(self.at)

    def counts(self, column: str) -> list[tuple[Chip, int]]:
        """Count the claims by verdict, in the order of the verdicts, zeros included."""
        known = PRINTED if column == "printed" else OURS
        found = Counter(getattr(one, column).text for one in self.claims)
        return [(chip(text, known), found[text]) for text in known]

    def crossed(self) -> list[tuple[Chip, list[int]]]:
        """Return claims by their verdict on the paper's numbers and, across, on our runs."""
        found = Counter((one.printed.text, one.ours.text) for one in self.claims)
        return [(chip(a, PRINTED), [found[a, b] for b in OURS]) for a in PRINTED]

    def by_equations(self, verdict: str) -> int:
        """Count the claims with this verdict by our runs and the equations alone."""
        return sum(one.on_runs.is_of_equations for one in self.of(verdict))

    def of(self, verdict: str) -> list[Evidence]:
        """Return the claims with this verdict on our runs."""
        return [one for one in self.claims if one.ours.text == verdict]


def chip(text: str, known: Mapping[str, tuple[str, str]]) -> Chip:
    sign, kind = known.get(text, ("·", "open"))
    return Chip(text, sign, kind)


def show(verdicts: Verdicts, profile: str, slugs: set[str]) -> ClaimsView:
    """Return verdicts for a profile's page; ``slugs`` are its experiments."""
    claims = (evidence(verdicts, i, profile, slugs) for i in range(len(verdicts.claims)))
    texts = ((check, chip(check.finding, FINDINGS)) for check in verdicts.text_checks)
    return ClaimsView(tuple(claims), tuple(texts), verdicts.profiles.get(profile))


def evidence(verdicts: Verdicts, index: int, profile: str, slugs: set[str]) -> Evidence:
    """Return one claim for a profile's page."""
    claim, at = verdicts.claims[index], verdicts.profiles.get(profile)
    on_paper = verdicts.on_paper[claim.id]
    on_runs = NOT_RUN if at is None else at.on_runs[claim.id]
    scale, rows = joined(on_paper.checks, on_runs.checks, slugs, on_runs.why)
    return Evidence(claim, index + 1, on_paper, on_runs, tuple(rows), scale)
