"""What every command does with its terminal: any encoding, any width, a pipe that is closed early.

Needs the standard library alone; rich is imported where a console is wanted.
"""

from __future__ import annotations

import codecs
import io
import locale
import os
import sys
import traceback
import unicodedata
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from gfl import escape

if TYPE_CHECKING:
    from rich.console import Console

LEGIBLE = "gfl.legible"  # the error handler of the streams' codecs
# As wide as what they stand for, where that can be: columns stay in line.
STAND_INS = {
    "—": "-", "–": "-", "−": "-", "‑": "-", "…": "...", "’": "'", "‘": "'", "“": '"', "”": '"',
    "×": "x", "±": "+-", "·": ".", "✓": "yes", "✕": "x", "→": "->", "≈": "~", "≥": ">=", "≤": "<=",
    "†": "#", "∞": "inf", "√": "sqrt", "∂": "d", "Σ": "sum", "β": "beta", "Δ": "Delta ",
    "σ": "sigma", "λ": "lambda", "γ": "gamma", "α": "alpha", "μ": "mu", "ρ": "rho",
    "█": "#", "▉": "#", "━": "-", "─": "-", "│": "|", "╸": "-", "╺": "-",
}  # fmt: skip


def prepare() -> None:
    """Make standard output and error take any text, whatever their encoding.

    What the encoding lacks is written as something legible. A traceback does not steer the
    terminal with what stands in its message.
    """
    codecs.register_error(LEGIBLE, _legible)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not in a notebook, which takes any text
            stream.reconfigure(errors=LEGIBLE)
    sys.excepthook = _trace


def as_utf8() -> None:
    """Start this process's command again in UTF-8 mode if it runs in another locale.

    For ``__main__``, first: names of files, and files, are UTF-8 whatever the locale says. Only
    the terminal keeps its encoding. In a locale of UTF-8, as nearly always, nothing happens.
    """
    if is_utf8():
        return
    environment = os.environ | {"PYTHONUTF8": "1"}
    environment.setdefault("PYTHONIOENCODING", getattr(sys.stdout, "encoding", None) or "ascii")
    os.execve(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]], environment)


def is_utf8() -> bool:
    """Return whether names of files, and files without a named encoding, are taken for UTF-8."""
    names = (sys.getfilesystemencoding(), locale.getpreferredencoding(False))
    return all(codecs.lookup(name).name == "utf-8" for name in names)


def legible(text: str) -> str:
    """Return text as standard output will show it, to lay it out by its width."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    codecs.register_error(LEGIBLE, _legible)
    return text.encode(encoding, LEGIBLE).decode(encoding)


def say(*parts: object, error: bool = False, flush: bool = False) -> None:
    """Print lines for a person, with control characters spelt out."""
    text = escape.lines(" ".join(map(str, parts)))
    print(text, file=sys.stderr if error else sys.stdout, flush=error or flush)


def write_utf8(text: str) -> None:
    """Write a file's content to standard output: UTF-8, whatever the terminal's encoding is."""
    buffer = getattr(sys.stdout, "buffer", None)
    if buffer is None:
        sys.stdout.write(text)
        return
    sys.stdout.flush()
    buffer.write(text.encode())
    buffer.flush()


def console(file: TextIO | None = None, **settings: Any) -> Console:
    """Return a rich console that takes brackets, colons and numbers in text for text.

    It leaves ``| head`` to the command, which ends it as any other does.
    """
    from rich.console import Console

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Plain(file=file, markup=False, emoji=False, highlight=False, **settings)


def abandon_output() -> None:
    """Discard all further output: its reader is gone (``| head``), which is no error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(nowhere, stream.fileno())


def _legible(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    return "".join(map(_stand_in, missing)), error.end


def _stand_in(c: str) -> str:
    if c in STAND_INS:
        return STAND_INS[c]
    kind, *_ = (unicodedata.decomposition(c) or " ").split(" ")
    plain = unicodedata.normalize("NFKD", c)
    if kind in ("<super>", "<sub>") and plain.isascii():  # the marks of footnotes
        return ("^" if kind == "<super>" else "_") + plain
    return c.encode("ascii", "backslashreplace").decode()


def _trace(kind: type[BaseException], err: BaseException, trace: TracebackType | None) -> None:
    text = "".join(traceback.format_exception(kind, err, trace)).rstrip("\n")
    print(escape.lines(text), file=sys.stderr)
