"""A cell that differs is named by its row and its column, in every kind of file."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.audit.findings import compare

MARKDOWN = """\
# A table

## ATSS

| type | mark |  | AP | AP50 |
| :-- | :-: | :-- | :-: | :-: |
| none |  | paper | 39.2 | 57.4 |
|  |  | reference | 74.4±0.8 | 96.9 |
| a \\| b | ✓ | paper | 39.9 | 58.5 |

- A note of 3 seeds.
"""
CSV = 'row,column,value,sd\n"a, b",AP,39.9,\nnone,AP,74.3996,0.8053\n'
JSON = '{"claims": [{"id": "one", "ours": {"laptop": {"p": 0.25, "runs": ["a", "b"]}}}], "n": []}'
FILES = {"a.md": MARKDOWN, "a.csv": CSV, "a.json": JSON}


def found(path: Path, text: str, old: str, new: str, *others: str) -> list[tuple[str, ...]]:
    """What is found where ``old`` stands in the committed file and ``new`` by the records.

    ``others`` are what stands there of the other variants.
    """
    assert old in text
    path.write_text(text)
    differing = compare(path, [text.replace(old, one, 1) for one in (new, *others)])
    return [(finding.place, finding.committed, finding.expected) for finding in differing]


@pytest.mark.parametrize(
    ("name", "old", "new", "place"),
    [
        ("a.md", "74.4±0.8", "74.5±0.8", "ATSS, row 'none', reference, column AP"),
        ("a.md", "58.5", "58.6", "ATSS, row 'a | b', paper, column AP50"),
        ("a.md", "AP50", "AP75", "ATSS, heading of line 5, column AP75"),
        ("a.csv", "0.8053", "0.8054", "line 3 (none, AP), column sd"),
        ("a.csv", "39.9", "39.8", "line 2 (a, b, AP), column value"),
        ("a.json", "0.25", "0.35", "claims one, ours, laptop, p"),
    ],
)
def test_a_cell_is_named(tmp_path, name, old, new, place) -> None:
    ((where, was, is_),) = found(tmp_path / name, FILES[name], old, new)
    assert where == place
    assert (was, is_) == (old, new)


def test_a_row_may_be_named_by_a_number(tmp_path) -> None:
    text = "row,column,value,seeds\n2.5,AP,1.0,0 1\n"
    ((place, *_),) = found(tmp_path / "a.csv", text, "1.0", "1.1")
    assert place == "line 2 (2.5, AP), column value"


def test_a_line_of_text_and_a_run_in_a_list_are_named(tmp_path) -> None:
    assert found(tmp_path / "a.md", MARKDOWN, "3 seeds", "2 seeds") == [
        ("line 11", "- A note of 3 seeds.", "- A note of 2 seeds.")
    ]
    ((place, *_),) = found(tmp_path / "a.json", JSON, '"b"', '"c"')
    assert place == "claims one, ours, laptop, runs 2"


def test_a_row_more_or_less_does_not_displace_the_others(tmp_path) -> None:
    row = "none,AP,74.3996,0.8053\n"
    assert found(tmp_path / "a.csv", CSV, '"a, b",AP,39.9,\n', "") == [
        ("line 2 (a, b, AP)", "a, b | AP | 39.9 | ", "nothing")
    ]
    assert found(tmp_path / "a.csv", CSV, row, row + "new,AP,1.0,\n") == [
        ("line 4 (new, AP)", "nothing", "new | AP | 1.0 | ")
    ]


def test_a_value_more_or_less_in_json_does_not_displace_the_others(tmp_path) -> None:
    assert found(tmp_path / "a.json", JSON, '"p": 0.25', '"q": 0.25') == [
        ("claims one, ours, laptop, q", "nothing", "0.25"),
        ("claims one, ours, laptop, p", "0.25", "nothing"),
    ]


@pytest.mark.parametrize(("name", "old"), [("a.md", "74.4"), ("a.csv", "74.3996"),
                                             ("a.json", "0.25")])  # fmt: skip
def test_a_cell_may_be_that_of_any_variant(tmp_path, name, old) -> None:
    path, text = tmp_path / name, FILES[name]
    assert found(path, text, old, "9.1", "9.2", old) == []
    ((_, was, is_),) = found(path, text, old, "9.1", "9.2", "9.3")
    assert old in was
    assert "9.1" in is_


def test_a_variant_is_of_its_own_cell_alone(tmp_path) -> None:
    one, other = "74.3996,0.8053", "0.8053,74.3996"
    assert len(found(tmp_path / "a.csv", CSV, one, "1.0,2.0", other)) == 2


def test_a_variant_of_other_lines_is_none(tmp_path) -> None:
    ((_, was, is_),) = found(tmp_path / "a.csv", CSV, "74.3996", "9.1", "74.3996\n1,2,3,4\n")
    assert (was, is_) == ("74.3996", "9.1")


def test_what_no_cell_shows_is_found_too(tmp_path) -> None:
    assert found(tmp_path / "a.csv", CSV, "none,AP", '"none",AP') == [
        ("line 3", "'none,AP,74.3996,0.8053\\n'", "'\"none\",AP,74.3996,0.8053\\n'")
    ]
    ((place, *_),) = found(tmp_path / "a.md", MARKDOWN, "seeds.\n", "seeds.")
    assert place == "line 11"
    assert found(tmp_path / "a.md", MARKDOWN, "A table", "A table") == []


def test_a_file_that_is_missing_or_broken_is_one_finding(tmp_path) -> None:
    (missing,) = compare(tmp_path / "a.csv", CSV)
    assert missing.text.endswith("a.csv: the file: committed nothing, by the records a file")
    (tmp_path / "a.json").write_text(JSON[:-1])
    (broken,) = compare(tmp_path / "a.json", JSON)
    assert broken.place == "the file"
    (tmp_path / "a.csv").write_bytes(b"row\n\xff\n")
    (binary,) = compare(tmp_path / "a.csv", CSV)
    assert binary.place == "byte 4"


def test_a_long_cell_is_cut_to_where_it_differs(tmp_path) -> None:
    words = "word " * 100
    (tmp_path / "a.md").write_text(f"{words}one {words}")
    (finding,) = compare(tmp_path / "a.md", f"{words}two {words}")
    assert "one word" in finding.text
    assert "two word" in finding.text
    assert len(finding.text) < 400
