import re
from dataclasses import replace
from pathlib import Path

import pytest

from cli.main import main
from experiments import profiles
from experiments.matrix import plan, select
from experiments.tables import catalogue
from experiments.tables.declare import AP, AP50, Group, Row, Table
from gfl.errors import UserError
from gfl.experiment import Experiment

SMOKE = profiles.get("smoke")
TABLE3 = catalogue.find("table-3")


@pytest.mark.parametrize("name", ["3", "table-3", "table3", "Table 3", "table_3"])
def test_a_table_is_found_by_any_of_its_names(name: str) -> None:
    assert catalogue.find(name) is TABLE3


@pytest.mark.parametrize("name", ["tabel-3", "table-33", "tables-3x"])
def test_a_near_miss_is_named(name: str) -> None:
    with pytest.raises(UserError, match="did you mean 'table-3'"):
        catalogue.find(name)


def test_table_3_is_the_papers() -> None:
    cells = {cell.row.name: cell for cell in TABLE3.cells()}
    printed = {name: list(cell.published.values()) for name, cell in cells.items()}
    assert printed == {
        "none": [19.4, 39.2, 57.4, 42.2],
        "QFL": [19.4, 39.9, 58.5, 43.0],
        "DFL": [19.4, 39.5, 57.3, 42.8],
        "both": [19.4, 40.2, 58.6, 43.4],
    }
    assert TABLE3.baseline == "none"
    for name, cell in cells.items():
        assert cell.experiment is not None
        qfl, dfl = (bool(mark) for mark in cell.row.marks)
        assert (qfl, dfl) == (name in ("QFL", "both"), name in ("DFL", "both"))
        assert qfl == (cell.experiment.quality == "joint")
        assert dfl == cell.experiment.dfl


def test_a_row_with_a_number_too_few_is_refused() -> None:
    with pytest.raises(ValueError, match="published numbers: 1, expected 2"):
        Table("table-9", "", (), (AP, AP50), (Row("a", None, (1.0,)),), baseline="a")


def test_a_row_meets_each_group_as_its_own_cell() -> None:
    table = Table(
        "table-9",
        "",
        (),
        (AP, AP50),
        (Row("a", Experiment(), (1.0, 2.0, 3.0, 4.0)),),
        baseline="a",
        groups=(Group("left"), Group("ATSS", "atss")),
    )
    left, right = table.cells()
    assert left.published == {"AP": 1.0, "AP50": 2.0}
    assert right.published == {"AP": 3.0, "AP50": 4.0}
    assert right.experiment == Experiment()


def test_cells_that_are_one_run_train_once() -> None:
    other = replace(TABLE3, name="table-9", rows=TABLE3.rows[1:], baseline="QFL")
    runs = plan([TABLE3, other], SMOKE, [0, 1, 0])
    assert len(runs) == 8
    assert [run.rows for run in runs[:4]] == [
        ("table-3/none",),
        ("table-3/QFL", "table-9/QFL"),
        ("table-3/DFL", "table-9/DFL"),
        ("table-3/both", "table-9/both"),
    ]
    assert [run.seed for run in runs] == [0] * 4 + [1] * 4  # a whole table first


def test_two_rows_of_one_experiment_are_one_run() -> None:
    same = Row("same", Experiment(), (0.0,) * 4, ("", ""))
    table = replace(TABLE3, rows=(TABLE3.rows[0], same))
    (run,) = plan([table], SMOKE, [0])
    assert run.rows == ("table-3/none", "table-3/same")


def test_what_to_run_is_named_in_several_ways() -> None:
    shown, all_four = select("3", SMOKE, [0])
    assert shown == [TABLE3]
    assert len(all_four) == 4
    qfl = all_four[1]
    assert select("table-3/QFL", SMOKE, [0]) == select("3/QFL", SMOKE, [0]) == ([TABLE3], [qfl])
    for name in (qfl.id, "atss-joint-dirac"):
        shown, (run,) = select(name, SMOKE, [0])
        assert run.id == qfl.id
        assert run.rows == ("table-1a/joint w/ QFL/ATSS", "table-1c/2", "table-3/QFL")
        assert [table.name for table in shown] == ["table-1a", "table-1c", "table-3"]


@pytest.mark.parametrize("name", ["1", "table-1", "Table 1"])
def test_a_table_in_parts_is_named_whole(name: str) -> None:
    shown, runs = select(name, SMOKE, [0])
    assert [table.name for table in shown] == ["table-1a", "table-1b", "table-1c"]
    assert shown == catalogue.parts(name)
    assert catalogue.parts("all") == list(catalogue.TABLES.values())
    papers = [run for run in runs if not run.is_extra]
    assert len({run.id for run in papers}) == len(papers) == 12 + 6 + 4
    with pytest.raises(UserError, match="has parts: table-1a, table-1b, table-1c"):
        catalogue.find(name)


@pytest.mark.parametrize("name", ["1a", "1(a)", "Table 1(a)", "table-1a", "table1a"])
def test_a_part_is_named_by_its_letter(name: str) -> None:
    assert catalogue.parts(name) == [catalogue.find(name)] == [catalogue.TABLES["table-1a"]]


def test_all_is_every_table() -> None:
    shown, runs = select("all", SMOKE, [0])
    assert shown == list(catalogue.TABLES.values())
    names = ["1a", "1b", "1c", "2a", "2b", "2c", "3", "4"]
    assert [table.name for table in shown] == [f"table-{name}" for name in names]
    assert {run.id for run in runs} == {run.id for t in shown for run in plan([t], SMOKE, [0])}


def test_a_row_is_named_with_its_group_or_for_all_of_them() -> None:
    shown, (fcos, atss) = select("1a/IoU-branch", SMOKE, [0])
    assert shown == [catalogue.find("1a")]
    assert (fcos.experiment.host, atss.experiment.host) == ("fcos", "atss")
    assert select("1a/IoU-branch/FCOS", SMOKE, [0]) == (shown, [fcos])
    assert select("1/IoU-branch/FCOS", SMOKE, [0]) == (shown, [fcos])


@pytest.mark.parametrize("name", ["smoke", "laptop", "coco"])
def test_every_row_of_table_4_is_a_run_of_its_own(name: str) -> None:
    (table,), runs = select("4", profiles.get(name), [0])
    assert [run.rows for run in runs] == [(f"table-4/{row.key}",) for row in table.rows]


def test_at_a_small_scale_gfl_on_r50_is_table_3s_run() -> None:
    _, (run,) = select("table-4/GFL R-50", SMOKE, [0])
    _, (other,) = select("table-3/both", SMOKE, [0])
    assert run.id == other.id


@pytest.mark.parametrize("name", ["photos", "gpu"])
def test_table_4_is_not_run_where_its_networks_do_not_fit(name: str) -> None:
    (table,), runs = select("4", profiles.get(name), [0])
    assert runs == []
    assert not table.runs_at(name)


def test_differences_are_taken_to_the_tables_baseline_in_the_same_group() -> None:
    table = catalogue.find("1a")
    for cell in table.cells():
        base = table.baseline_of(cell)
        if cell.row.name == "centerness-branch":
            assert base is None
        else:
            assert base is not None
            assert (base.row.name, base.group) == ("centerness-branch", cell.group)


def test_in_table_1b_each_detector_is_its_own_baseline() -> None:
    table = catalogue.find("1b")
    found = {cell.row.name: table.baseline_of(cell) for cell in table.cells()}
    assert {name: base and base.row.name for name, base in found.items()} == {
        name + suffix: name if suffix else None
        for name in ("FoveaBox", "RetinaNet", "SSD512")
        for suffix in ("", " + joint w/ QFL")
    }


def test_table_4_has_no_baseline() -> None:
    table = catalogue.find("4")
    assert {table.baseline_of(cell) for cell in table.cells()} == {None}


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ((Row("a", None, (1.0,)), Row("a", None, (2.0,))), "two rows have one name"),
        ((Row("a", None, (1.0,), baseline="b"),), "no row is named 'b'"),
    ],
)
def test_rows_that_cannot_be_told_apart_or_compared_are_refused(
    rows: tuple[Row, ...], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        Table("table-9", "", (), (AP,), rows, baseline="a")


def test_a_runs_id_names_its_seed() -> None:
    id = select("3/QFL", SMOKE, [5])[1][0].id
    (run,) = select(id, SMOKE, [0])[1]
    assert run.seed == 5


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("table-3/QFLL", "Table 3 has no row 'QFLL'; did you mean 'QFL'"),
        ("1/IoU-banch", "Table 1a, Table 1b, Table 1c have no row 'IoU-banch'; did you mean 'IoU-"),
        ("table-5", "unknown table 'table-5'; known: all, table-1, table-2, "),
        ("atss-joint-dirak", "did you mean 'atss-joint-dirac'"),
        ("atss-joint-dirac-s0-00000000", "its id is now atss-joint-dirac-s0-"),
        (
            "table-4/nonsense",
            r"Table 4 has no row 'nonsense'; known: ([^,]+, ){4}[^,]+ and \d+ more$",
        ),
        ("nonsense", r"known: all(, [\w-]+){4} and \d+ more$"),
    ],
)
def test_what_is_not_declared_is_refused_with_what_is(name: str, hint: str) -> None:
    with pytest.raises(UserError, match=hint):
        select(name, SMOKE, [0])


def test_coco_on_other_than_8_gpus_keeps_2_images_each_and_scales_the_rate() -> None:
    paper, two = profiles.get("coco"), profiles.get("coco", gpus=2)
    assert (paper.schedule.batch, paper.schedule.lr) == (16, 0.01)
    assert (two.schedule.batch, two.schedule.lr) == (4, 0.0025)
    assert profiles.get("coco", gpus=8) == paper


def test_a_batch_is_shared_out_evenly_or_not_at_all() -> None:
    assert profiles.get("smoke", gpus=2).schedule == SMOKE.schedule
    with pytest.raises(UserError, match="3 GPUs cannot share a batch of 4"):
        profiles.get("smoke", gpus=3)


def test_table_4_elsewhere_trains_nothing_and_is_shown_as_published(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    folders = ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    assert main(["run", "4", "--profile", "gpu", *folders]) == 0
    out = capfd.readouterr().out
    assert out.startswith("Table 4: its rows are run at --profile smoke, laptop or coco only\n")
    assert re.search(r"GFL +X-101-32x4d-DCN", out)
    assert "2.7*" in out
    assert not list((tmp_path / "runs").rglob("*.json"))
