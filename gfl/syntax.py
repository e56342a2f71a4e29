"""Meaning of Python source, independent of comments, docstrings and layout."""

from __future__ import annotations

import ast
from typing import Any


def meaning(source: str) -> str:
    """Return code without comments, layout, docstrings and the text of exceptions.

    Raises:
        SyntaxError: it is not Python.
    """
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            node.exc = node.exc.func
    return written(tree)


def written(value: Any) -> str:
    """Serialise a syntax tree identically on every version of Python, unlike ``ast.dump``."""
    if isinstance(value, list):
        return "[" + ",".join(written(v) for v in value if not _is_remark(v)) + "]"
    if not isinstance(value, ast.AST):
        return repr(value)
    fields = [(name, written(v)) for name, v in ast.iter_fields(value) if v is not None]
    # Later versions of Python have more fields, which are empty. u"" equals "".
    inner = [f"{name}={text}" for name, text in fields if text != "[]" and name != "kind"]
    return f"{type(value).__name__}({','.join(inner)})"


def _is_remark(node: Any) -> bool:
    """Return True if a statement is a bare string: any docstring."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
