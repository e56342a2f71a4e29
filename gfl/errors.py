"""User errors of one line; the command line prints them and exits with 2."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from gfl import escape

Lack = Literal[
    "cuda", "coco", "photographs",
    # Of a data set of one's own: files that are not found, and what only its user can decide.
    "folder and train file", "train file", "val file", "train and val files", "file to divide",
    "division", "val images by division", "division or both files", "no division",
    "no division or file to divide", "train images", "val images", "fractions", "corners",
    "broken left out",
]  # fmt: skip


class UserError(Exception):
    """Error the user can fix: names the thing, its value, and what to do.

    ``lacks`` names what is missing or undecided; the command says which option supplies it.
    """

    def __init__(self, message: str, lacks: Lack | Sequence[Lack] = ()) -> None:
        super().__init__(message)
        self.lacks: tuple[Lack, ...] = (lacks,) if isinstance(lacks, str) else tuple(lacks)


def did_you_mean(value: str, choices: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for a near miss, else the first few known values.

    A name as near to several of them (table-9) is a near miss of none.
    """
    known = sorted(choices) if isinstance(choices, Set) else list(dict.fromkeys(choices))
    near = difflib.get_close_matches(value, known, n=2)
    ratios = [difflib.SequenceMatcher(None, name, value).ratio() for name in near]
    if near and len(set(ratios)) == len(ratios):
        return f"; did you mean {near[0]!r}?"
    return f"; known: {escape.some(known)}" if known else "; there are none"


def disk_error(err: BaseException, where: Path) -> UserError | None:
    """Return a ``UserError`` if ``err`` comes from a full disk or missing file permissions.

    ``where`` names the place if the error does not.
    """
    cause: BaseException | None = err
    while cause is not None:
        if isinstance(cause, OSError):
            place = cause.filename or where
            if cause.errno in (errno.ENOSPC, errno.EDQUOT):
                return UserError(f"{place}: the disk is full; free some space and run again")
            if cause.errno == errno.EFBIG:
                return UserError(
                    f"{place}: larger than a file may be here; ulimit -f shows the limit"
                )
            if cause.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                return UserError(f"{place}: {cause.strerror}")
        cause = cause.__context__  # torch wraps a failed write in errors of its own
    return None


@contextmanager
def disk_errors(where: Path) -> Iterator[None]:
    """Raise ``disk_error``'s ``UserError`` in place of a disk error."""
    try:
        yield
    except OSError as err:
        if users := disk_error(err, where):
            raise users from err
        raise
