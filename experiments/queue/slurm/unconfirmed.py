"""Submissions that nothing confirms: the command was killed, or sbatch's answer got lost.

Before sbatch is called, a file beside the ledgers names the jobs, as no others are named. It is
deleted once each run's ledger has its job. Where it is still there, the jobs may exist and no
ledger say so: they are cancelled, and the runs submitted again.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from experiments.queue import slurm_jobs
from gfl.errors import UserError
from gfl.records.record import RecordError, read_json, write_json

SUFFIX = ".unconfirmed.json"


@contextmanager
def submission(folder: Path, profile: str, cluster: str) -> Iterator[str]:
    """Give the jobs that the block submits a name, on record until the block has ended well.

    When it raises a UserError the jobs are cancelled, should Slurm have taken them all the same.
    """
    name = f"gfl-{profile}-{secrets.token_hex(4)}"
    path = folder / f"{name}{SUFFIX}"
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, {"cluster": cluster})
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
        try:
            its_cluster = read_json(path)["cluster"]
        except RecordError:
            continue
        name = path.name.removesuffix(SUFFIX)
        if its_cluster == cluster and slurm_jobs.cancel(name):
            path.unlink()
            lines.append(f"cancelled {name}: the command that submitted it was interrupted")
    return lines
