"""Submissions that nothing confirms: the command was killed, or sbatch's answer got lost.

Before sbatch is called, a file beside the ledgers names the jobs, as no others are named, and their
runs. It is deleted once each run's ledger has its job. Where it is still there, the jobs may exist
and no ledger say so: the next command that submits cancels them.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from experiments.queue import slurm_jobs
from experiments.queue.slurm.ledger import Ledger
from gfl.errors import UserError
from gfl.escape import counted
from gfl.records.record import RecordError, read_json, write_json

SUFFIX = ".unconfirmed.json"


@contextmanager
def submission(ledgers: Sequence[Ledger], profile: str, cluster: str) -> Iterator[str]:
    """Give the jobs that the block submits a name, on record until the block has ended well.

    When it raises a UserError the jobs are cancelled, should Slurm have taken them all the same.
    """
    name = f"gfl-{profile}-{secrets.token_hex(4)}"
    path = ledgers[0].folder / f"{name}{SUFFIX}"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"cluster": cluster, "runs": [ledger.name for ledger in ledgers]})
    try:
        yield name
    except UserError:
        if slurm_jobs.cancel(name):
            path.unlink()
        raise
    path.unlink()


def cancel(folder: Path, cluster: str) -> list[str]:
    """Cancel the cluster's unconfirmed jobs; return a line on each submission.

    For a command that no other submits beside.
    """
    lines = []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        name = path.name.removesuffix(SUFFIX)
        try:
            content = read_json(path)
            its_cluster, runs = content["cluster"], content["runs"]
        except (RecordError, KeyError):
            continue
        if its_cluster != cluster:
            continue
        entries = [Ledger(folder, run).submission() for run in runs]
        if all(entry is not None and entry.name == name for entry in entries):
            path.unlink()  # killed when all was written
        elif slurm_jobs.cancel(name):
            path.unlink()
            lines.append(
                f"cancelled {name}, {counted(len(runs), 'run')}: the command that submitted it was "
                "interrupted; the same command submits them again"
            )
    return lines
