"""``gfl audit``: verdicts on the paper's claims, and checks of committed results."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.audit import strict
from analysis.audit.artefacts import PUBLISHED, published_csv
from analysis.audit.findings import Finding
from analysis.library import Source
from analysis.pool import Reporter
from experiments.checkout import last_change
from experiments.matrix import check_writable, write_all
from experiments.profiles import PROFILES
from gfl.errors import UserError, did_you_mean
from gfl.escape import counted
from gfl.records.record import Store
from gfl.terminal import say

if TYPE_CHECKING:
    from analysis.claims.verdicts import Verdicts

MOST = 20  # reported places per file
# Measured without a cache, user and system: 3 min 59 s with --strict, at a load of 12 to 15.
TIME = "every profile that has records; the first time this takes 4 minutes of processor time"


def audit(store: Store, source: Source, data: Path | None = None) -> int:
    """Print every claim's verdicts and write ``claims.md`` and ``claims.json``; exit code.

    With ``data``, COCO's folder, also check the committed matches against its ground truth.

    Raises:
        UserError: a run's predictions are damaged, or the results cannot be written.
    """
    from analysis.claims import render, terminal
    from analysis.claims.verdicts import judge

    report = progress()
    check_writable(store.results)
    strict.check_data(store, data)
    report(TIME)
    if source == "reference":
        with strict.processes(store):
            for profile in strict.recorded(store):
                strict.measure(profile, store, report)
    report("the claims by the paper's own numbers, and then by the runs of each profile")
    found = judge(store, source, report)
    terminal.show(found)
    for line in registrations(found, store):
        say(line)
    texts = render.files(found)
    if source == "reference":
        texts[PUBLISHED] = published_csv()
    write_all({store.results / name: text for name, text in texts.items()})
    if source != "reference":
        return 0
    findings = list(strict.held(strict.as_it_stands(store), report, data))
    for line in said(findings) if findings else ():
        say(line)
    return 1 if findings else 0


def show_claim(id: str, store: Store, source: Source) -> int:
    """Print one claim with its verdicts and their evidence, from the last audit; exit code.

    Raises:
        UserError: there is no such claim, or no audit of the records here.
    """
    from analysis.claims import terminal
    from analysis.claims.stored import of_records
    from experiments.claims import CLAIMS

    known = {claim.id: claim for claim in CLAIMS}
    if id not in known:
        raise UserError(f"unknown claim {id!r}{did_you_mean(id, known)}")
    verdicts = of_records(store, source, list(PROFILES))
    if id not in verdicts.on_paper:
        raise UserError(f"{id} was declared after the last audit: gfl audit")
    terminal.show_claim(known[id], verdicts)
    return 0


def registrations(found: Verdicts, store: Store) -> Iterator[str]:
    """Report, per profile, whether its claims' readings preceded its runs, and the commit."""
    from analysis.claims import registration, wording

    for name, at in found.profiles.items():
        line = wording.registered(at)
        if at.registered is not None:
            commit = last_change(registration.path(store, name).resolve())
            known = f"commit {commit[0]} of {commit[1]} UTC" if commit else "git does not say when"
            line += f" The file's last change: {known}."
        yield line


def audit_strictly(store: Store, data: Path | None = None, full: bool = False) -> int:
    """Report every place under ``results`` that differs from its records; 1 if there is one.

    Nothing is written.

    Raises:
        UserError: there are no records at all.
    """
    if not any(store.reference_ids(name) for name in PROFILES):
        nothing = "holds no records: nothing to hold the results to"
        raise UserError(f"{store.results / 'runs'} {nothing}")
    strict.check_data(store, data)
    report = progress()
    report(TIME)
    findings = list(strict.find(store, report, data, full))
    for line in said(findings):
        say(line)
    report("done")
    return 1 if findings else 0


def said(findings: Iterable[Finding]) -> list[str]:
    """Return a line per place, file by file, and their number."""
    findings = list(findings)
    counts = Counter(finding.file for finding in findings)
    lines: list[str] = []
    for file, count in counts.items():
        lines += [finding.text for finding in findings if finding.file == file][:MOST]
        if count > MOST:
            lines.append(f"{file}: {counted(count - MOST, 'more place')}")
    if not findings:
        return ["What is committed is what the records give: nothing differs."]
    places, files = len(findings), len(counts)
    differ = counted(places, "place differs", "places differ")
    return [*lines, f"{differ} from what the records give, in {counted(files, 'file')}."]


def progress() -> Reporter:
    """Return a function that reports progress on stderr."""
    start = time.monotonic()

    def report(line: str) -> None:
        say(f"[{time.monotonic() - start:4.0f} s] {line}", error=True)

    return report
