"""Tolerance for another processor's rounding in printed numbers, and for nothing more.

Numbers are not compared within a tolerance: it would hide a changed digit in a number printed with
few digits or, at a rounding boundary, report a spurious difference. Texts are compared instead, and
a text may also equal what the same numbers print when all are slightly higher, or slightly lower.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import pandas as pd

from experiments.claims.declare import Claim, TextCheck
from experiments.tables.declare import Cell
from gfl.experiment import Experiment, Profile
from gfl.records.record import RunRecord

T = TypeVar("T")
# Relative. For doubles summed in another order, or another exp: instruction sets from SSE2 to
# AVX-512, with MKL's and OpenBLAS's kernels for them, differed by at most 1e-13.
DOUBLES = 1e-9
# Some figures' numbers are means of float32 numbers, which differed by at most 2e-9.
FIGURES = 1e-8
# Fitted numbers depend slightly on the optimizer's path: the simulation's differed by 5e-8.
FITS = 1e-7
DECLARED = (Experiment, Profile, Cell, Claim, TextCheck)  # given, not computed


def variants(render: Callable[[T], str], made: T, noise: float) -> tuple[str, str, str]:
    """Render a text as here, then with all numbers slightly higher, and slightly lower."""
    return render(made), render(moved(made, 1 + noise)), render(moved(made, 1 - noise))


def moved(made: T, factor: float) -> T:
    """Return a copy with every float of a frame, dataclass or container scaled by a factor."""
    return _moved(made, factor)


def _moved(made: Any, factor: float) -> Any:
    if isinstance(made, DECLARED):
        return made
    if isinstance(made, float):
        return made * factor
    if isinstance(made, RunRecord):  # nothing is computed from its other fields
        return replace(made, **{k: _moved(getattr(made, k), factor) for k in ("metrics", "fps")})
    if isinstance(made, pd.DataFrame):
        floats = made.select_dtypes("float")
        return made.assign(**{str(name): floats[name] * factor for name in floats})
    if is_dataclass(made) and not isinstance(made, type):
        inside = {field.name: getattr(made, field.name) for field in fields(made) if field.init}
        return replace(made, **{name: _moved(value, factor) for name, value in inside.items()})
    if isinstance(made, Mapping):
        return {key: _moved(value, factor) for key, value in made.items()}
    if isinstance(made, tuple | list):
        return type(made)(_moved(value, factor) for value in made)
    return made
