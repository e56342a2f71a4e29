"""What a user did wrong, in one line; the command line prints it and exits with 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake the user can mend: names the thing, its value, and what to do."""


def did_you_mean(value: str, choices: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for a near miss, else the list of what is known."""
    known = sorted(choices)
    near = difflib.get_close_matches(value, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"
