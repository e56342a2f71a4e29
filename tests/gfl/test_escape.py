"""Text from outside, read back by a real reader of each medium."""

from __future__ import annotations

import ast
import csv
import html.parser
import io
import json
import os
import subprocess
import tempfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jinja2 import Environment
from markdown_it import MarkdownIt
from matplotlib.text import Text

from gfl import escape

# Any string that Python can hold, lone surrogates too, and the characters that mean something.
SPECIAL = (
    "\n\r\t\x0b\x0c\x1b[31m\x85\u2028\u2029\u202e\u2066\ufeff\ud83d\udcff"
    "|`*_[]()<>&#!~\\$={}'\"/.-+@:,;1n "
)
ANY = st.one_of(st.sampled_from(SPECIAL), st.characters())
HOSTILE = st.text(ANY, max_size=40)
WORDS = ("nut", "Schlüssel", "螺母", "ثلج", "हिन्दी", "👩\u200d🚒", "a b", "it's", "C:\\x", "50 %")


def shows(text: str) -> bool:
    """Whether a terminal shows a text on one line and obeys nothing in it."""
    return all(
        c in escape.JOINERS or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp")
        for c in text
    )


@pytest.mark.parametrize("text", WORDS)
def test_ordinary_text_of_any_script_stays_as_it_is(text: str) -> None:
    assert escape.terminal(text) == text
    assert escape.lines(text) == text
    assert escape.message(text) == text
    assert escape.shortened(text, 40) == text
    assert escape.csv_field(text) == text
    assert escape.html(text) == text
    assert escape.file_name(text) == text
    assert ast.literal_eval(escape.python(text)) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("nut\n", "nut\\n"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("half \ud83d", "half \\ud83d"),
        ("a\u2028b\x85c\rd", "a\\u2028b\\x85c\\rd"),
    ],
)
def test_a_terminal_is_not_steered(text: str, shown: str) -> None:
    assert escape.terminal(text) == shown


@given(HOSTILE)
def test_any_text_is_one_line_that_is_shown(text: str) -> None:
    shown = escape.terminal(text)
    assert shows(shown)
    shown.encode()  # no half of a surrogate pair is left
    assert escape.terminal(shown) == shown
    assert len(escape.lines(text).split("\n")) == text.count("\n") + 1
    assert all(map(shows, escape.lines(text).split("\n")))


@given(st.lists(HOSTILE.filter(lambda text: "\n  " not in text), min_size=1, max_size=4))
def test_a_name_in_an_error_begins_no_line(parts: list[str]) -> None:
    lines = escape.message("\n  ".join(parts)).split("\n")
    assert len(lines) <= len(parts)
    assert all(line.startswith("  ") for line in lines[1:])


@given(HOSTILE, st.integers(1, 30))
@example("螺母" * 30, 11)
@example("e" + "\u0301" * 1000, 10)
def test_a_cut_is_never_wider_than_its_limit(text: str, limit: int) -> None:
    shown = escape.shortened(text, limit)
    assert escape.width(shown) <= limit
    assert len(shown) <= 4 * limit + 1
    whole = escape.terminal(text)
    assert shown == whole or (shown[-1] == "…" and whole.startswith(shown[:-1]))


def test_width_is_counted_in_columns() -> None:
    assert escape.width("nut") == 3
    assert escape.width("螺母") == 4
    assert escape.width("e\u0301") == 1
    assert escape.padded("螺母", 6) == "螺母  "


def rendered(inline: str) -> tuple[str, set[str]]:
    """The text that an inline token shows, and the kinds of what is in it."""
    (token,) = [t for t in MarkdownIt("gfm-like", {"linkify": False}).parse(inline) if t.children]
    kinds = {child.type for child in token.children or ()}
    return "".join(child.content for child in token.children or ()), kinds - {"text"}


@given(HOSTILE)
@example("a|b")
@example("[a](javascript:alert)")
@example("<img src=x onerror=alert(1)>")
@example("`code` *b* _i_ ~~s~~ &lt; \\")
@example("1. item")
@example("1)")
@example("- item")
@example("+")
@example("---")
@example("- - -")
@example("## a")
@example("[ ] a")
@example("[a]: /b")
@example("===")
@example("__a__ _b_")
def test_markdown_shows_the_text_in_a_cell_and_in_an_item(text: str) -> None:
    expected = " ".join(escape.terminal(text).split())
    escaped = escape.markdown(text)
    table = f"| a | b |\n|---|---|\n| {escaped} | end |\n"
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(table)
    assert [t.type for t in tokens].count("td_open") == 2
    cells = [t for t in tokens if t.type == "inline"][2:]
    assert {child.type for child in cells[0].children or ()} <= {"text"}
    assert "".join(child.content for child in cells[0].children or ()) == expected
    assert cells[1].content == "end"
    if expected:
        item = MarkdownIt("gfm-like", {"linkify": False}).parse(f"- {escaped}\n")
        assert [t.type for t in item] == [
            "bullet_list_open", "list_item_open", "paragraph_open", "inline", "paragraph_close",
            "list_item_close", "bullet_list_close",
        ]  # fmt: skip
        assert rendered(escaped) == (expected, set())


@pytest.mark.parametrize(
    "text",
    ["AP_50", "p < 0.05", "a & b", "[0.1, 0.3]", "x-y", "-2.3", "+0.0", "37.8", "#3", "50 %"],
)
def test_markdown_escapes_no_more_than_it_must(text: str) -> None:
    assert escape.markdown(text) == text


@given(st.lists(st.one_of(HOSTILE, st.floats(allow_nan=False), st.integers()), min_size=1))
@example(["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "＝1"])
@example(["-0.5", "+1e-3", "-12", "12 %"])
def test_no_field_of_a_csv_file_is_a_formula(row: list[str | float]) -> None:
    text = escape.csv_file([row])
    text.encode()
    assert len(text.splitlines()) == 1
    (read,) = csv.reader(io.StringIO(text))
    assert len(read) == len(row)
    for field, value in zip(read, row, strict=True):
        if not isinstance(value, str):
            assert field == str(value)
        else:
            assert field.removeprefix("'") == escape.terminal(value).removeprefix("'")
            try:
                float(field)
            except ValueError:
                assert field.lstrip()[:1] not in {*"=+-@\t\r＝＋－＠"}


@pytest.mark.parametrize("number", ["-0.5", "+1", "-1e-05", "-inf", "12", "-3 ", "-.5"])
def test_numbers_stay_numbers_in_csv(number: str) -> None:
    assert escape.csv_field(number.strip()) == number.strip()


class Texts(html.parser.HTMLParser):
    """What a page shows, and the elements and attributes in it."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.text, self.tags = "", []

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, attrs))


@given(HOSTILE)
@example("</p><script>alert(1)</script>")
@example('" onmouseover="alert(1)')
def test_html_shows_the_text_and_nothing_else(text: str) -> None:
    page = Environment(autoescape=True, finalize=escape.html)
    shown = page.from_string('<p title="{{ text }}">{{ text }}</p>').render(text=text)
    shown.encode()
    read = Texts()
    read.feed(shown)
    read.close()
    assert read.text == escape.html(text)
    assert read.tags == [("p", [("title", escape.html(text))])]


@given(HOSTILE)
@example("a\rimport os")
@example("{{ fileDirname }}{{{")
@example("'\"\\N{BULLET}")
def test_a_python_literal_is_the_value_and_holds_no_template(text: str) -> None:
    literal = escape.python(text)
    assert ast.literal_eval(literal) == text
    assert "{{" not in literal
    assert shows(literal)
    source = f"{escape.comment(text)}\nvalue = {literal}\n"
    assert "{{" not in source
    (statement,) = ast.parse(source).body
    assert isinstance(statement, ast.Assign)


@given(HOSTILE)
@example("$x$")
@example("a$b")
@example("\\$x$ \\")
def test_a_figure_shows_the_text_and_no_formula(text: str) -> None:
    line, is_formula = Text(parse_math=True)._preprocess_math(escape.matplotlib(text))
    assert not is_formula
    assert line == escape.shortened(text, 60)


ARGUMENTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


@settings(max_examples=50, deadline=None)
@given(st.lists(ARGUMENTS.map(lambda t: t + "'\n\\{{"), min_size=1, max_size=5))
@example(["it's", "a b", "\u202e", "\udcff", "$(x)", "$'a'", "-n", ""])
def test_a_shell_reads_the_words_back(words: list[str]) -> None:
    line = " ".join(map(escape.shell, words))
    assert shows(line)
    done = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {line}"],
        capture_output=True,
        check=True,
        env={"LC_ALL": "C"},
    )
    read = done.stdout.split(b"\0")[:-1]
    assert read == [word.encode("utf-8", "surrogateescape") for word in words]


@settings(deadline=None)
@given(st.text(ANY, max_size=300))
@example("螺" * 300)
@example("..")
@example("")
def test_a_name_of_ours_is_one_that_a_folder_takes(text: str) -> None:
    name = escape.file_name(text)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).mkdir()
        assert os.listdir(folder) == [name]
    assert shows(name)


def test_two_long_names_stay_two() -> None:
    assert escape.file_name("a" * 300) != escape.file_name("a" * 301)
    assert len(escape.file_name("螺" * 300).encode()) <= escape.LONGEST_NAME


@given(HOSTILE)
def test_json_in_utf8_gives_the_text_back(text: str) -> None:
    # Two halves that a JSON reader joins were no two characters to begin with.
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    written = escape.json(json.dumps({"a": text}, ensure_ascii=False))
    assert json.loads(written.encode()) == {"a": text}


def test_no_name_goes_to_a_path_unseen(tmp_path: Path) -> None:
    assert (tmp_path / escape.file_name("../../etc/passwd")).parent == tmp_path


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, ""), (1, "0"), (5, "0, 1, 2, 3, 4"), (6, "0, 1, 2, 3, 4 and 1 more")],
)
def test_at_most_five_cases_are_named_and_the_others_counted(count: int, shown: str) -> None:
    assert escape.some(range(count)) == shown


def test_each_named_case_is_cut_and_may_stand_between_semicolons() -> None:
    assert escape.some(["ab\n", "x" * 9, "c"], 2, "; ", 5) == "ab\\n; xxxx… and 1 more"


def test_a_choice_is_worded_as_one() -> None:
    assert escape.either(["a"]) == "a"
    assert escape.either(["a", "b"]) == "a or b"
    assert escape.either(["a", "b", "c"]) == "a, b or c"


def test_a_number_has_its_noun() -> None:
    assert escape.counted(1, "image") == "1 image"
    assert [escape.counted(n, "box", "boxes") for n in (0, 1, 2)] == ["0 boxes", "1 box", "2 boxes"]
    assert escape.counted(5000, "image is", "images are", ",") == "5,000 images are"
