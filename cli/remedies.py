"""Options that supply what an error of ``gfl`` reports missing: the core knows none of them."""

from __future__ import annotations

from gfl.errors import Lack, UserError

REMEDIES: dict[Lack, str] = {
    "cuda": "; PROFILE=laptop runs on a CPU, --device cpu tries this one anyway",
    "coco": ": DATA=/path/to/coco, or --data",
    "photographs": "\nthen: make ... PROFILE=photos DATA=DIR, or --data DIR",
}


def worded(err: Exception) -> str:
    """Return an error's message, with the option that resolves it."""
    lacks = err.lacks if isinstance(err, UserError) else None
    return f"{err}{REMEDIES[lacks]}" if lacks else str(err)
