import csv
import io
import math
from dataclasses import replace

import pytest
from recorded import record

from analysis.stats import uncertainty
from analysis.stats.uncertainty import SeedMean
from analysis.tables import agreement, fill, render
from analysis.tables.layout import lay_out
from cli.main import main
from experiments import profiles
from experiments.tables import catalogue as declared
from gfl.records.record import METRICS, RunRecord, Store, run_id

SMOKE = profiles.get("smoke")
TABLE3 = declared.find("table-3")
ROWS = {cell.row.name: cell for cell in TABLE3.cells()}


def a_record(row: str, seed: int, ap: float, **changes) -> RunRecord:
    experiment = ROWS[row].experiment
    assert experiment is not None
    values = {
        "id": run_id(experiment, SMOKE, seed),
        "profile": {"name": "smoke"},
        "seed": seed,
        "commit": "c0ffee" * 6,
        "versions": {"torch": "2.11.0"},
        "hardware": {"cpu": "a processor"},
        "metrics": dict.fromkeys(METRICS, 50.0) | {"AP": ap},
        "fps": 10.0,
        "curve": [{"iter": 1, "loss": 1.0}],
    }
    return record(**(values | changes))


def local(store: Store, record: RunRecord) -> None:
    path = store.run_dir("smoke", record.id, record.max_iters) / "record.json"
    record.save(path)


def refer(store: Store, record: RunRecord) -> None:
    record.save(store.reference_path("smoke", record.id))


def filled(store: Store, row: str) -> fill.Filled:
    return next(f for f in fill.fill(TABLE3, SMOKE, store) if f.cell.row.name == row)


def lines(store: Store) -> list[tuple[str, ...]]:
    """The table's lines as printed: row, marks, source, n, FPS, AP, ΔAP, ..."""
    made = lay_out(TABLE3, SMOKE, fill.fill(TABLE3, SMOKE, store), with_local=False)
    return [line.cells for line in made.blocks[0].lines]


def test_a_figure_is_a_mean_with_its_spread(store: Store) -> None:
    for seed, ap in enumerate((30.0, 31.0, 35.0)):
        refer(store, a_record("QFL", seed, ap))
    found = uncertainty.mean(filled(store, "QFL").reference, "AP")
    assert found is not None
    assert found.mean == 32.0
    assert found.spread == pytest.approx(math.sqrt((4 + 1 + 9) / 2))
    assert found.seeds == (0, 1, 2)
    assert uncertainty.mean(filled(store, "QFL").local, "AP") is None


def test_one_seed_has_no_spread(store: Store) -> None:
    local(store, a_record("QFL", 4, 30.0))
    assert uncertainty.mean(filled(store, "QFL").local, "AP") == SeedMean(30.0, None, (4,))


def test_a_difference_is_paired_over_the_seeds_that_both_have(store: Store) -> None:
    for seed, base, ap in ((0, 30.0, 31.0), (1, 33.0, 33.5), (2, 20.0, None), (3, None, 90.0)):
        if base is not None:
            refer(store, a_record("none", seed, base))
        if ap is not None:
            refer(store, a_record("QFL", seed, ap))
    found = uncertainty.difference(filled(store, "QFL").reference, filled(store, "none").reference)
    assert found is not None
    assert (found.seeds, found.value) == ((0, 1), 0.75)
    (line,) = [li for li in lines(store) if "[" in li[7]]
    # t(0.975) of one degree is tan(0.475 π) = 12.706, the standard error |1 - 0.5| / 2.
    assert line[7] == "+0.8 [-2.4, +3.9] (2 of 3 seeds)"


def test_runs_that_are_no_results_are_remarks(store: Store) -> None:
    local(store, a_record("QFL", 0, 30.0, state="failed", message="it diverged"))
    local(store, a_record("QFL", 1, 30.0, state="capped", max_iters=2))
    partial = store.run_dir("smoke", a_record("QFL", 2, 0.0).id)
    partial.mkdir(parents=True)
    (partial / "epoch_1.pth").touch()
    refer(store, a_record("QFL", 5, 30.0, state="failed"))
    found = filled(store, "QFL")
    assert found.local == {}
    assert found.reference == {}
    assert found.remarks == (
        "QFL, seed 0: failed: it diverged",
        "QFL, seed 1: a trial of 2 iterations, not a result",
        "QFL, seed 2: not finished, 1 of 2 epochs trained",
    )


def test_records_of_other_settings_do_not_count(store: Store) -> None:
    stale = a_record("QFL", 0, 30.0)
    refer(store, replace(stale, id=stale.id[:-8] + "00000000"))
    assert filled(store, "QFL").reference == {}


def test_the_table_says_what_it_shows(store: Store) -> None:
    for row, ap in (("none", 30.0), ("QFL", 31.5)):
        for seed in (0, 1):
            refer(store, a_record(row, seed, ap + seed))
    local(store, a_record("QFL", 0, 31.5))
    cells = fill.fill(TABLE3, SMOKE, store)
    text = render.markdown(lay_out(TABLE3, SMOKE, cells, with_local=True), agreement.lines(cells))
    assert "| QFL | ✓ |  | paper |  | 19.4 | 39.9 | +0.7 | 58.5 | 43.0 |" in text
    assert "|  |  |  | reference | 2 | 10.0±0.0 | 32.0±0.7 | +1.5 [+1.5, +1.5] | 50.0±0.0 |" in text
    assert "|  |  |  | local | 1 | 10.0 | 31.5 | — | 50.0 | 50.0 |" in text
    assert "| both | ✓ | ✓ | paper |  | 19.4 | 40.2 | +1.0 |" in text
    assert "embedded shapes data" in text
    assert "agree with the reference: 1 run to the bit" in text


def test_the_reference_table_does_not_depend_on_this_machine(store: Store) -> None:
    refer(store, a_record("none", 0, 30.0))
    before = lay_out(TABLE3, SMOKE, fill.fill(TABLE3, SMOKE, store), with_local=False)
    local(store, a_record("none", 0, 35.0))
    local(store, a_record("none", 1, 35.0, state="failed"))
    after = lay_out(TABLE3, SMOKE, fill.fill(TABLE3, SMOKE, store), with_local=False)
    assert after == before


def test_a_rehearsal_says_that_it_is_no_result(store: Store) -> None:
    def said(profile: str) -> str:
        cells = fill.fill(TABLE3, profiles.get(profile), store)
        return " ".join(lay_out(TABLE3, profiles.get(profile), cells, with_local=False).notes)

    assert "A rehearsal" in said("smoke")
    assert "A rehearsal" not in said("laptop")
    assert "Compare the differences" in said("laptop")


def fps_notes(store: Store, with_local: bool) -> list[str]:
    made = lay_out(TABLE3, SMOKE, fill.fill(TABLE3, SMOKE, store), with_local)
    return [note for note in made.notes if note.startswith("FPS")]


def test_the_table_says_on_what_fps_was_measured(store: Store) -> None:
    assert fps_notes(store, with_local=True) == []
    refer(store, a_record("none", 0, 30.0, hardware={"device": "a GPU", "threads": 8}))
    note = "FPS: reference on a GPU; not comparable with the paper's GPU."
    assert fps_notes(store, with_local=True) == [note]
    local(store, a_record("none", 0, 30.0, hardware={"device": "cpu", "cpu": "X", "threads": 1}))
    local(store, a_record("QFL", 0, 30.0, fps=None, hardware={"cpu": "Y", "threads": 1}))
    assert fps_notes(store, with_local=True) == [
        "FPS: reference on a GPU; local on 1 thread of X, maybe with other runs training beside "
        "it; not comparable with the paper's GPU."
    ]
    assert fps_notes(store, with_local=False) == [note]


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("NVIDIA GeForce RTX 2080 Ti", "."),
        ("a GPU of the threadbare kind", "; not comparable with the paper's GPU."),
    ],
)
def test_fps_on_a_gpu_is_comparable_if_it_is_the_papers(
    store: Store, name: str, ending: str
) -> None:
    refer(store, a_record("none", 0, 30.0, hardware={"device": name, "threads": 8}))
    assert fps_notes(store, with_local=True) == [f"FPS: reference on {name}{ending}"]


def test_runs_for_other_gpus_are_pointed_to(store: Store, capsys: pytest.CaptureFixture) -> None:
    record = a_record("none", 0, 30.0, profile={"name": "smoke", "gpus": 2})
    refer(store, replace(record, id=record.id[:-8] + "00000000"))
    folders = ["--runs", str(store.runs), "--results", str(store.results)]
    assert main(["table", "3", "--profile", "smoke", *folders]) == 0
    assert "1 smoke run is recorded for GPUS=2: say GPUS=2\n" in capsys.readouterr().out


def test_the_csv_is_tidy(store: Store) -> None:
    for seed in (0, 1):
        refer(store, a_record("none", seed, 30.0))
        refer(store, a_record("QFL", seed, 31.0 + seed))
    text = render.tidy_csv(TABLE3, fill.fill(TABLE3, SMOKE, store), with_local=False)
    rows = list(csv.DictReader(io.StringIO(text)))
    (ap,) = [r for r in rows if (r["row"], r["column"], r["source"]) == ("QFL", "AP", "reference")]
    assert (ap["value"], ap["sd"], ap["n"], ap["seeds"]) == ("31.5000", "0.7071", "2", "0 1")
    (delta,) = [
        r for r in rows if (r["row"], r["column"], r["source"]) == ("QFL", "ΔAP", "reference")
    ]
    # 1 and 2: 1.5 ± 12.706 · 0.7071 / √2.
    assert [delta[k] for k in ("value", "n")] == ["1.5000", "2"]
    assert float(delta["lower"]) == pytest.approx(1.5 - 6.3531, abs=1e-4)
    assert float(delta["upper"]) == pytest.approx(1.5 + 6.3531, abs=1e-4)
    both = [r["value"] for r in rows if r["source"] == "paper" and r["row"] == "both"]
    assert both == ["19.4", "40.2", "58.6", "43.4", "1.0"]
    assert not [r for r in rows if r["column"] == "ΔAP" and r["row"] == "none"]


def test_the_command_prints_and_writes(store: Store, capsys: pytest.CaptureFixture) -> None:
    folders = ["--runs", str(store.runs), "--results", str(store.results)]
    options = ["--profile", "smoke", *folders]
    assert main(["table", "3", *options]) == 0  # no record: nothing to write
    assert not store.results.exists()
    refer(store, a_record("none", 0, 30.0))
    assert main(["table", "3", *options]) == 0
    assert {p.name for p in (store.results / "tables/smoke").iterdir()} == {
        "table-3.md",
        "table-3.csv",
    }
    assert "30.0" in capsys.readouterr().out
    assert main(["table", "tabel-3", *options]) == 2
    assert "did you mean 'table-3'" in capsys.readouterr().err


def test_a_damaged_reference_is_named_and_the_cell_empty(
    store: Store, capsys: pytest.CaptureFixture
) -> None:
    refer(store, a_record("none", 0, 30.0))
    path = store.reference_path("smoke", a_record("none", 0, 30.0).id)
    path.write_text(path.read_text().replace("30.0", "39.9"))
    assert filled(store, "none").reference == {}
    assert "checksum" in capsys.readouterr().err
