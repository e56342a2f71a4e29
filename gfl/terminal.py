"""Terminal handling of every command: any encoding, any width, a pipe closed early.

Needs only the standard library; rich is imported only for a console.
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
from typing import TYPE_CHECKING, Any

from gfl import escape

if TYPE_CHECKING:
    from rich.console import Console

LEGIBLE = "gfl.legible"  # the error handler of the streams' codecs
# As wide as what they replace, where possible, to keep columns aligned.
STAND_INS = {
    "—": "-", "–": "-", "−": "-", "‑": "-", "…": "...", "’": "'", "‘": "'", "“": '"', "”": '"',
    "×": "x", "±": "+-", "·": ".", "✓": "yes", "✕": "x", "→": "->", "≈": "~", "≥": ">=", "≤": "<=",
    "†": "#", "∞": "inf", "√": "sqrt", "∂": "d", "Σ": "sum", "β": "beta", "Δ": "Delta ",
    "σ": "sigma", "λ": "lambda", "γ": "gamma", "α": "alpha", "μ": "mu", "ρ": "rho",
    "█": "#", "▉": "#", "━": "-", "─": "-", "│": "|", "╸": "-", "╺": "-",
}  # fmt: skip


def prepare() -> None:
    """Make standard output and error accept any text, whatever their encoding.

    Unsupported characters get legible substitutes. Tracebacks cannot send control sequences from
    their messages to the terminal.
    """
    codecs.register_error(LEGIBLE, _legible)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not in a notebook, which accepts any text
            stream.reconfigure(errors=LEGIBLE)
    sys.excepthook = _trace


def as_utf8() -> None:
    """Restart this process's command in UTF-8 mode if it runs in another locale.

    To be called first in ``__main__``: file names and files are UTF-8 whatever the locale. Only the
    terminal keeps its encoding. In a UTF-8 locale, the usual case, nothing happens.
    """
    if is_utf8():
        return
    environment = os.environ | {"PYTHONUTF8": "1"}
    environment.setdefault("PYTHONIOENCODING", getattr(sys.stdout, "encoding", None) or "ascii")
    os.execve(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]], environment)


def is_utf8() -> bool:
    """Return whether file names, and files without a stated encoding, are decoded as UTF-8."""
    names = (sys.getfilesystemencoding(), locale.getpreferredencoding(False))
    return all(codecs.lookup(name).name == "utf-8" for name in names)


def legible(text: str) -> str:
    """Return one line of text as standard output will show it, for layout by width."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    codecs.register_error(LEGIBLE, _legible)
    return escape.terminal(text).encode(encoding, LEGIBLE).decode(encoding)


def say(*parts: object, error: bool = False, flush: bool = False) -> None:
    """Print lines for a person, with control characters escaped."""
    text = escape.lines(" ".join(map(str, parts)))
    print(text, file=sys.stderr if error else sys.stdout, flush=error or flush)


def note(text: str) -> None:
    """Print a command's remark to standard error, under the program's name."""
    say(f"gfl: {text}", error=True)


def write_utf8(text: str) -> None:
    """Write a file's content to standard output: UTF-8, whatever the terminal's encoding is."""
    buffer = getattr(sys.stdout, "buffer", None)
    if buffer is None:
        sys.stdout.write(text)
        return
    sys.stdout.flush()
    buffer.write(text.encode())
    buffer.flush()


def console(**settings: Any) -> Console:
    """Return a rich console that does not interpret brackets, colons and numbers in text.

    It leaves ``| head`` to the command, which handles it like any other.
    """
    from rich.console import Console

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Plain(markup=False, emoji=False, highlight=False, **settings)


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
    if kind in ("<super>", "<sub>") and plain.isascii():  # footnote marks
        return ("^" if kind == "<super>" else "_") + plain
    return c.encode("ascii", "backslashreplace").decode()


def _trace(kind: type[BaseException], err: BaseException, trace: TracebackType | None) -> None:
    text = "".join(traceback.format_exception(kind, err, trace)).rstrip("\n")
    print(escape.lines(text), file=sys.stderr)
