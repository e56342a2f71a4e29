"""Escaping of external text for the medium it is written to: one function per medium.

Names of classes and files, paths, messages of other programs: none may end a line, control a
terminal, end a table cell, become a formula or run as code. Ordinary text in any script is
unchanged. Imports only the standard library, and rich where columns are counted.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import shlex
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")

JOINERS = "\u200c\u200d"  # invisible, but part of the spelling of Persian, Indic scripts and emoji
NUMBER = re.compile(r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?%?|inf|nan)")
FORMULA = "=+-@＝＋－＠"  # spreadsheets accept the full-width forms, too
MOST_NAMED = 5  # cases in a message
LONGEST_NAME = 200  # bytes of a file name; file systems allow 255, and suffixes are added

# Markup of CommonMark and GitHub besides the characters that are always escaped.
MARKDOWN = re.compile(
    r"""(?P<always>[`*|~$])
    |(?P<backslash>\\(?=[!-/:-@\[-`{-~]|$))
    |(?P<underscore>(?<![^\W_])_|_(?![^\W_]))  # within a word it emphasizes nothing
    |(?P<bracket>\](?=[(\[:])|!(?=\[)|\[(?=\^))
    |(?P<angle><(?=[A-Za-z/!?]))
    |(?P<entity>&(?=\#[0-9]|\#[xX][0-9A-Fa-f]|[A-Za-z][A-Za-z0-9]*;))
    |(?P<link>(?<=http):(?=//)|(?<=https):(?=//)|(?<=ftp):(?=//)|(?<=www)\.)
    |(?P<start>^(?:>|[+-](?=\s|$)|-(?=-)|\#(?=\#*(?:\s|$))|\[(?=[\sxX]\])))
    """,
    re.VERBOSE | re.IGNORECASE,
)
ITEM = re.compile(r"^([0-9]+)([.)])(?=\s|$)")  # of a numbered list


def terminal(text: str) -> str:
    """Return text as one line that a terminal displays and does not interpret.

    Control characters, line ends, marks that change the direction of writing and unpaired
    surrogates are written as Python escapes.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if _is_printable(c) else _spelt(c) for c in text)


def lines(text: str) -> str:
    """Return text of several lines, each escaped by ``terminal``."""
    return "\n".join(terminal(line) for line in text.expandtabs().split("\n"))


def message(text: str) -> str:
    """Return an error's text, keeping only line ends that precede an indented line.

    So a name that contains a line end stays within its line.
    """
    return "\n  ".join(terminal(part) for part in text.split("\n  "))


def width(text: str) -> int:
    """Return the number of terminal columns a text takes."""
    from rich.cells import cell_len  # slow to import, and rarely needed

    return cell_len(text)


def shortened(text: str, limit: int) -> str:
    """Return text escaped by ``terminal``, cut to ``limit`` columns with an ellipsis."""
    from rich.cells import chop_cells

    printable = terminal(text)
    # Zero-width marks are counted too: a thousand of them on one letter are no name.
    if width(printable) <= limit and len(printable) <= 4 * limit:
        return printable
    return (chop_cells(printable[: 4 * limit], limit - 1)[0] if limit > 1 else "") + "…"


def some(
    things: Sequence[object],
    most: int = MOST_NAMED,
    separator: str = ", ",
    columns: int | None = None,
) -> str:
    """Return the first few items of a list, each cut to ``columns``, and the number of the others.

    ``a, b, c, d, e and 3 more``.
    """
    texts = [str(thing) for thing in things[:most]]
    printable = separator.join(texts if columns is None else [shortened(t, columns) for t in texts])
    more = len(things) - most
    return f"{printable} and {more} more" if more > 0 else printable


def counted(number: int, noun: str, plural: str = "", form: str = "") -> str:
    """Return a number with its noun: ``1 image``, ``2 images``, ``0 boxes``."""
    return f"{number:{form}} {noun if number == 1 else plural or noun + 's'}"


def either(names: Sequence[str]) -> str:
    """Return a choice: ``a``, ``a or b``, ``a, b or c``."""
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last


def padded(text: str, columns: int) -> str:
    """Pad text with spaces to the given number of terminal columns."""
    return text + " " * (columns - width(text))


def markdown(text: str) -> str:
    """Escape text as one line of Markdown for a paragraph, a list item or a table cell.

    Escapes only what CommonMark or GitHub would interpret.
    """
    printable = re.sub(r"\s+", " ", terminal(text)).strip()
    escaped = MARKDOWN.sub(lambda found: "\\" + found[0], printable)
    return ITEM.sub(r"\1\\\2", escaped)


def csv_field(value: T) -> T | str:
    """Return a CSV field that no spreadsheet takes for a formula; numbers stay numbers.

    Quoting is left to the ``csv`` module. Values other than text are unchanged.
    """
    if not isinstance(value, str):
        return value
    printable = terminal(value)
    if printable.lstrip()[:1] in tuple(FORMULA) and not NUMBER.fullmatch(printable):
        return "'" + printable
    return printable


def csv_file(rows: Iterable[Iterable[object]]) -> str:
    """Return rows as a CSV file's content, every field escaped by ``csv_field``."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(map(csv_field, row) for row in rows)
    return out.getvalue()


def html(value: T) -> T | str:
    """Drop characters that HTML forbids or that change a page invisibly.

    Markup is escaped later. Line ends stay: HTML treats them as spaces.
    """
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    return "".join(c if c in "\n\t" or _is_printable(c) else _spelt(c) for c in value)


def matplotlib(text: str) -> str:
    """Escape text for a figure: a dollar sign begins no formula; cut to fit a title."""
    return shortened(text, 60).replace("$", r"\$")


def python(value: object) -> str:
    """Return a value as a Python literal that mmengine reads back unchanged.

    Before mmengine parses a configuration it replaces ``{{ name }}`` anywhere in the file. Two
    adjacent braces occur in strings only, where a brace is never part of an escape.
    """
    return repr(value).replace("{{", r"{\x7b")


def comment(line: str) -> str:
    """Return a line as a Python comment, without templates of mmengine."""
    printable = re.sub(r"\{(?=\{)", "{ ", terminal(line))
    return f"# {printable}".rstrip()


def shell(word: str) -> str:
    """Quote a word for bash and zsh, printable on one line."""
    if terminal(word) == word and "{{" not in word:
        return shlex.quote(word)
    return "$'" + "".join(map(_in_shell, word)) + "'"


def file_name(text: str) -> str:
    """Return text as a valid name for a file or folder that this project creates."""
    name = "".join(c if _is_printable(c) and c != "/" else "_" for c in text)
    if name in ("", ".", ".."):
        return "_"
    if len(name.encode()) <= LONGEST_NAME:
        return name
    cut = name.encode()[: LONGEST_NAME - 9].decode(errors="ignore")
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{cut}-{digest[:8]}"  # two long names stay distinct


def json(text: str) -> str:
    """Return JSON encodable as UTF-8: unpaired surrogates are escaped, and read back."""
    return re.sub("[\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text)


def _is_printable(c: str) -> bool:
    return c in JOINERS or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _spelt(c: str) -> str:
    return c.encode("unicode_escape").decode()


def _in_shell(c: str) -> str:
    if c in "'\\":
        return "\\" + c
    if c != "{" and _is_printable(c):
        return c
    escaped = "\udc80" <= c <= "\udcff"  # a byte of a file name that is not UTF-8
    coded = c.encode("utf-8", "surrogateescape" if escaped else "surrogatepass")
    return "".join(f"\\x{byte:02x}" for byte in coded)
