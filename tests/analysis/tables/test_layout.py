from collections.abc import Callable

import pytest

from analysis.tables import render
from analysis.tables.layout import TableLayout, lay_out
from analysis.tables.notes import Footnotes
from experiments import profiles
from experiments.tables import catalogue as declared

SMOKE, COCO = profiles.get("smoke"), profiles.get("coco")
TABLE1A, TABLE1B, TABLE3, TABLE4 = map(declared.find, ("1a", "1b", "3", "4"))


def cells(made: TableLayout, block: int = 0) -> list[dict[str, str]]:
    """The lines of a block, by the names of its columns; the source has none."""
    return [dict(zip(made.header, line.cells, strict=True)) for line in made.blocks[block].lines]


def test_groups_are_blocks_with_a_baseline_each(fill: Callable) -> None:
    aps = {
        "FCOS centerness-branch": (30.0, 31.0), "FCOS joint w/ QFL": (32.0, 33.0),
        "ATSS centerness-branch": (40.0,), "ATSS joint w/ QFL": (39.5,),
    }  # fmt: skip
    made = lay_out(TABLE1A, SMOKE, fill(TABLE1A, aps), with_local=False)
    assert [block.title for block in made.blocks] == ["FCOS", "ATSS"]
    assert [len(block.lines) for block in made.blocks] == [12, 12]  # six rows, two lines each
    fcos, atss = cells(made), cells(made, 1)
    assert [line["ΔAP"] for line in fcos[-2:]] == ["+0.5", "+2.0 [+2.0, +2.0]"]
    assert [line["ΔAP"] for line in atss[-2:]] == ["+0.7", "-0.5"]
    assert fcos[2]["ΔAP"] == atss[2]["ΔAP"] == fcos[3]["ΔAP"] == ""  # the baseline's own
    assert fcos[1]["AP"] == fcos[1]["ΔAP"] == "—"  # nothing recorded of the first row
    assert any("comes from one seed: its interval is unknown" in note for note in made.notes)
    (order,) = [note for note in made.notes if note.startswith("Rows by AP, ATSS:")]
    assert "\n  reference: centerness-branch > joint w/ QFL (2 of 6 rows). 0 of 1 pair" in order
    assert order.endswith("1 reversed; one seed: no verdict.")


def test_intervals_need_no_excuse(fill: Callable) -> None:
    aps = {"none": (30.0, 31.0), "QFL": (32.0, 33.5)}
    made = lay_out(TABLE3, SMOKE, fill(TABLE3, aps), with_local=False)
    assert not any("one seed" in note for note in made.notes)
    assert any("Student's t with n-1 degrees of freedom" in note for note in made.notes)


def test_each_row_is_held_against_its_own_baseline(fill: Callable) -> None:
    aps = {"FoveaBox": (30.0,), "RetinaNet": (20.0,), "RetinaNet + joint w/ QFL": (21.0,)}
    made = lay_out(TABLE1B, SMOKE, fill(TABLE1B, aps), with_local=False)
    lines = cells(made)
    retina = next(i for i, line in enumerate(lines) if "RetinaNet + joint" in line["Method"])
    assert [line["ΔAP"] for line in lines[retina : retina + 2]] == ["+0.8", "+1.0"]
    assert any("RetinaNet + joint w/ QFL: RetinaNet" in note for note in made.notes)


def test_a_footnote_has_its_mark_at_the_row_and_at_the_note(fill: Callable) -> None:
    made = lay_out(TABLE1A, SMOKE, fill(TABLE1A, {}), with_local=False)
    noted = {row.note: row.name for row in TABLE1A.rows if row.note}
    assert len(made.footnotes) == len(noted) > 2
    for block in made.blocks:
        rows = [line.cells[0] for line in block.lines if line.is_first]
        for mark, note in made.footnotes:
            assert f"{noted[note]}{mark}" in rows
    text = render.markdown(made, [])
    assert all(f"\n- {mark} {note}\n" in text for mark, note in made.footnotes)


def test_equal_notes_share_a_mark() -> None:
    notes = Footnotes()
    assert [notes.mark(note) for note in ("one", "", "two", "one")] == ["ᵃ", "", "ᵇ", "ᵃ"]
    assert notes.listed == (("ᵃ", "one"), ("ᵇ", "two"))


def test_table_4_is_the_papers_where_it_cannot_be_run(fill: Callable) -> None:
    made = lay_out(TABLE4, profiles.get("photos"), fill(TABLE4, {}), with_local=True)
    lines = cells(made)
    assert len(lines) == 36
    assert made.title.endswith("(published numbers)")
    assert "ΔAP" not in made.header
    assert "n" not in made.header
    trident = next(line for line in lines if line["Method"].startswith("TridentNet"))
    assert (trident["Backbone"], trident["Epoch"], trident["MS_train"]) == ("R-101", "24", "✓")
    assert (trident["FPS"], trident["AP"], trident["Reference"]) == ("2.7*", "42.7", "ICCV19")
    assert [line["FPS"] for line in lines].count("n/a") == 2
    text = render.markdown(made, [])
    assert "\n- \\* taken by the paper from [33]" in text
    assert "Its rows can be run, at the smoke, laptop or coco profile only" in text
    assert "make reproduce-table-4 PROFILE=smoke" in text
    assert "Not COCO" not in text
    assert "±" not in text


def test_a_table_of_photographs_says_what_it_is_of_and_whose_area_counts(fill: Callable) -> None:
    made = lay_out(
        TABLE3, profiles.get("photos"), fill(TABLE3, {"none": (17.0,)}), with_local=False
    )
    (note,) = [note for note in made.notes if note.startswith("Not COCO")]
    assert "person in 1000 photographs of val2017 at 320 px" in note
    assert "APS, APM and APL go by the area of boxes, not of masks" in note


def test_table_4s_rows_have_their_runs_at_coco(fill: Callable) -> None:
    aps = {"GFL R-50": (42.9,), "GFL R-101": (44.7,)}
    made = lay_out(TABLE4, COCO, fill(TABLE4, aps), with_local=False)
    lines = cells(made)
    assert len(lines) == 36 * 2
    aps = [line["AP"] for line in lines if line[""] == "reference"]
    assert aps == [*"—" * 31, "42.9", "44.7", *"———"]
    assert "make reproduce" not in render.markdown(made, [])


@pytest.mark.parametrize("name", declared.TABLES)
def test_every_table_prints_without_a_record(fill: Callable, name: str) -> None:
    table = declared.find(name)
    made = lay_out(table, SMOKE, fill(table, {}), with_local=True)
    for block in made.blocks:
        assert {len(line.cells) for line in block.lines} == {len(made.header)}
    assert not any(note.startswith("Rows by AP") for note in made.notes)
