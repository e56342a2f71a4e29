"""DataTables, as the package itables brings it, made fit to stand inside a page."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.util import find_spec
from pathlib import Path

from gfl.errors import UserError

BUNDLE = "html/dt_bundle.js"


def datatables() -> str:
    """Return the bundle as a script that needs no import: it leaves ``window.DataTable``.

    It is a module, which a page opened from disk cannot import from a file beside it; what it
    exports by default is DataTables. The licences of what is bundled stand at its end.

    Raises:
        UserError: itables is not installed, or has another bundle than the one known here.
    """
    spec = find_spec("itables")  # importing it would load more than is needed
    if spec is None or not spec.submodule_search_locations:
        raise UserError("the report needs the package itables: make setup")
    path = Path(spec.submodule_search_locations[0]) / BUNDLE
    text = path.read_text(encoding="utf-8")
    exports = re.findall(r"export\{[^}]*\};?", text)
    name = re.search(r"([\w$]+) as default", exports[0]) if len(exports) == 1 else None
    if name is None:
        raise UserError(f"{path} does not export one DataTable: install what constraints.txt pins")
    return inert(text.replace(exports[0], f"window.DataTable={name[1]};"))


def inert(script: str) -> str:
    """Spell what would end or nest a script element so that a page's parser does not see it.

    In strings and regular expressions ``\\x3C`` is the same character; elsewhere ``<script`` and
    ``<!--`` do not stand in a script.
    """
    return re.sub(r"<(?=/?script|!--)", r"\\x3C", script, flags=re.IGNORECASE)


def source(script: str) -> str:
    """Return the hash by which a Content-Security-Policy lets this script run, and no other."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
