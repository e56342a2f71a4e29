"""``gfl report``: one profile's results as one self-contained HTML file.

Imports ``analysis.tables``, ``analysis.figures`` and the wording of the claims.
"""

from __future__ import annotations

from pathlib import Path

from analysis.report.page import html
from gfl.errors import UserError
from gfl.experiment import Profile
from gfl.files import write_text
from gfl.records.record import LOCAL_SUFFIX, Store

LARGEST = 15_000_000  # bytes; the page should fit in an e-mail


def write(profile: Profile, store: Store, local: bool, out: Path | None = None) -> Path:
    """Write the report of a profile and return its path.

    Raises:
        UserError: the claims are missing or of other records, or the page is too large.
    """
    # The local report's name is git-ignored: the committed one is the reference's.
    name = f"{profile.name}{LOCAL_SUFFIX if local else ''}.html"
    text = html(profile, store, local)
    if (size := len(text.encode())) > LARGEST:
        raise UserError(f"the report has {size:,} bytes, more than {LARGEST:,}")
    return write_text(out or store.results / "report" / name, text)


__all__ = ["html", "write"]
