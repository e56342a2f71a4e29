from dataclasses import replace

import pytest

from experiments import profiles, tables
from experiments.declare import AP, AP50, Group, Row, Table
from experiments.matrix import plan, select
from gfl.errors import UserError
from gfl.experiment import Experiment

SMOKE = profiles.get("smoke")
TABLE3 = tables.find("table-3")


@pytest.mark.parametrize("name", ["3", "table-3", "table3", "Table 3", "table_3"])
def test_a_table_is_found_by_any_of_its_names(name: str) -> None:
    assert tables.find(name) is TABLE3


@pytest.mark.parametrize("name", ["tabel-3", "table-33", "tables-3x"])
def test_a_near_miss_is_named(name: str) -> None:
    with pytest.raises(UserError, match="did you mean 'table-3'"):
        tables.find(name)


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


def test_a_row_with_a_figure_too_few_is_refused() -> None:
    with pytest.raises(ValueError, match="figures"):
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


def test_a_factor_out_of_effect_makes_no_other_run() -> None:
    same = Row("same", Experiment(beta=1.0), (0.0,) * 4, ("", ""))  # no QFL: no beta
    table = replace(TABLE3, rows=(TABLE3.rows[0], same))
    (run,) = plan([table], SMOKE, [0])
    assert run.rows == ("table-3/none", "table-3/same")


def test_what_to_run_is_named_in_several_ways() -> None:
    (all_four,) = (select("3", SMOKE, [0])[1],)
    assert len(all_four) == 4
    qfl = all_four[1]
    for name in ("table-3/QFL", "3/QFL", qfl.id, "atss-joint-dirac"):
        shown, runs = select(name, SMOKE, [0])
        assert runs == [qfl]
        assert shown == [TABLE3]
    assert select("all", SMOKE, [0])[1] == all_four


def test_a_runs_id_names_its_seed() -> None:
    id = select("3/QFL", SMOKE, [5])[1][0].id
    (run,) = select(id, SMOKE, [0])[1]
    assert run.seed == 5


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("table-3/QFLL", "did you mean 'QFL'"),
        ("atss-joint-dirak", "did you mean 'atss-joint-dirac'"),
        ("atss-joint-dirac-s0-00000000", "its id is now atss-joint-dirac-s0-"),
        ("nonsense", "known: all, "),
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
