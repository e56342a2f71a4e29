"""DataTables, from the package itables, adapted for inlining in a page."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.util import find_spec
from pathlib import Path

from gfl.errors import UserError

BUNDLE = "html/dt_bundle.js"


def datatables() -> str:
    """Return the bundle as a script without imports, which defines ``window.DataTable``.

    The original is a module, which a page opened from disk cannot import from a file beside it; its
    default export is DataTables. The licences of the bundle's parts are at its end.

    Raises:
        UserError: itables is not installed, or has another bundle than the one known here.
    """
    spec = find_spec("itables")  # importing it would load more than needed
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
    """Escape whatever a page's parser would read as the end or nesting of a script element.

    In strings and regular expressions ``\\x3C`` is the same character; ``<script`` and ``<!--`` do
    not occur elsewhere in a script.
    """
    return re.sub(r"<(?=/?script|!--)", r"\\x3C", script, flags=re.IGNORECASE)


def source(script: str) -> str:
    """Return the hash by which a Content-Security-Policy allows this script, and no other."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
