"""Agreement of local runs with the reference: to the bit, or within seed noise."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from analysis.stats.uncertainty import Noise, seed_noise, values
from analysis.tables.fill import Filled, name
from gfl.escape import counted
from gfl.records.record import RunRecord, digest

LEVEL = 0.05  # family-wise probability of a false disagreement on a faithful machine
Kind = Literal["bit", "noise", "differs", "unknown"]


@dataclass(frozen=True)
class Verdict:
    """Local run compared with the reference run of the same id."""

    run: str
    kind: Kind
    difference: float  # of AP, local minus reference

    @property
    def text(self) -> str:
        what = {
            "bit": "the same to the bit",
            "noise": "within seed noise",
            "differs": "differs by more than seed noise",
            "unknown": "differs",
        }[self.kind]
        return what if self.kind == "bit" else f"{what} ({self.difference:+.2f} AP)"


@dataclass(frozen=True)
class Bound:
    """Bound on the difference of two runs of one id under seed noise, at a family-wise level.

    Other hardware is treated like another seed, so the difference of two such AP has √2 times the
    standard deviation over seeds. That deviation is itself estimated, with ``freedom`` degrees of
    freedom: hence Student's t, two-sided, with its level divided among the ``runs`` compared
    (Bonferroni).
    """

    spread: float
    freedom: int
    runs: int

    @property
    def quantile(self) -> float:
        from scipy.special import stdtrit  # takes a third of a second, needed only for a verdict

        return float(stdtrit(self.freedom, 1 - LEVEL / (2 * self.runs)))

    @property
    def ap(self) -> float:
        return self.quantile * math.sqrt(2) * self.spread

    @property
    def text(self) -> str:
        runs = counted(self.runs, "run", "runs together")
        return (
            f"Seed noise: |difference| ≤ {self.ap:.2f} AP = {self.quantile:.2f}·√2·"
            f"{self.spread:.2f}, a two-sided t-test at the level of {LEVEL:.0%} for {runs} "
            f"(Bonferroni); {self.spread:.2f} AP is the reference's standard deviation over "
            f"seeds, pooled over rows, with {self.freedom} degrees of freedom."
        )


@dataclass(frozen=True)
class Agreement:
    """Verdict for each run that both have; the bound is None if the noise is unknown."""

    verdicts: tuple[Verdict, ...]
    bound: Bound | None


def noise(filled: Iterable[Filled]) -> Noise | None:
    """Return the reference's standard deviation of AP over seeds, pooled over rows."""
    return seed_noise(values(cell.reference, "AP") for cell in filled)


def agreement(filled: Sequence[Filled]) -> Agreement:
    """Compare each local run with the reference run of the same id."""
    pairs = [
        (f"{name(cell.cell)}, seed {seed}", cell.local[seed], cell.reference[seed])
        for cell in filled
        for seed in sorted(cell.local.keys() & cell.reference.keys())
    ]
    others = sum(not _same(local, reference) for _, local, reference in pairs)
    pooled = noise(filled)
    bound = Bound(pooled.spread, pooled.freedom, others) if pooled and others else None
    limit = bound.ap if bound else None
    return Agreement(tuple(_verdict(*pair, limit) for pair in pairs), bound)


def lines(filled: Sequence[Filled]) -> list[str]:
    """Return a summary, then each run that is not identical, then the derivation of the bound.

    The paper's rows come first, the additional ones after, with a bound of their own.
    """
    papers = agreement([cell for cell in filled if not cell.cell.row.is_extra])
    extra = agreement([cell for cell in filled if cell.cell.row.is_extra])
    if not extra.verdicts:
        return _lines(papers)
    first = _lines(papers) if papers.verdicts else []
    return [*first, "Rows not in the paper:", *_lines(extra)]


def _lines(found: Agreement) -> list[str]:
    kinds = [v.kind for v in found.verdicts]
    if not kinds:
        return ["No local run has a reference run of the same id to agree with."]
    if set(kinds) == {"bit"}:
        every = "1 run" if len(kinds) == 1 else f"all {len(kinds)} runs"
        return [f"The local runs agree with the reference: {every} to the bit."]
    summary = _unknown(found) if found.bound is None else _summary(kinds)
    details = [f"  {v.run}: {v.text}" for v in found.verdicts if v.kind != "bit"]
    return [summary, *details, *([found.bound.text] if found.bound else [])]


def _summary(kinds: Sequence[str]) -> str:
    counts = {
        "the same to the bit": kinds.count("bit"),
        "within seed noise": kinds.count("noise"),
        "different": kinds.count("differs"),
    }
    said = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    verb = "do not agree" if "differs" in kinds else "agree"
    return f"The local runs {verb} with the reference: of {len(kinds)} runs {said}."


def _unknown(found: Agreement) -> str:
    most = max(abs(v.difference) for v in found.verdicts)
    same = sum(v.kind == "bit" for v in found.verdicts)
    bits = f" ({same} of {len(found.verdicts)} are the same to the bit)" if same else ""
    return (
        f"The local runs differ from the reference's by at most {most:.2f} AP{bits}; the "
        "reference has one seed a row, and one seed cannot tell noise from disagreement."
    )


def _verdict(run: str, local: RunRecord, reference: RunRecord, limit: float | None) -> Verdict:
    difference = (local.metrics["AP"] or 0.0) - (reference.metrics["AP"] or 0.0)
    if _same(local, reference):
        return Verdict(run, "bit", difference)
    if limit is None:
        return Verdict(run, "unknown", difference)
    return Verdict(run, "noise" if abs(difference) <= limit else "differs", difference)


def _same(local: RunRecord, reference: RunRecord) -> bool:
    curves = [digest(list(record.curve)) for record in (local, reference)]
    return local.metrics == reference.metrics and curves[0] == curves[1]
