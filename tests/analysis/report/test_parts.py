"""What the report works out itself, by hand: gaps, scales, curves, pictures, scripts."""

from __future__ import annotations

import base64
import io
import math
from pathlib import Path

import numpy as np
import pytest
import recorded
from PIL import Image
from reported import ERRORS, LAPTOP, LOSS, fill

from analysis.claims import stored
from analysis.claims.verdict_on_runs import CheckOnRuns
from analysis.report import bundle, evidence, lists, pictures
from analysis.report.checks import as_printed, joined, number, p_text
from analysis.report.drawn import Scale, curve, scale, strip
from analysis.report.formulas import plain
from analysis.report.table_views import Gap, Row, command, identifier, signed, views
from analysis.speed.record import load, save
from analysis.stats.correction import P
from analysis.text import Listing
from experiments import profiles
from experiments.claims.declare import ABOVE
from experiments.tables import catalogue
from gfl.records.record import Store


@pytest.fixture
def rows(tmp_path: Path) -> dict[str, Row]:
    """Table 3's rows, filled."""
    store = Store(tmp_path / "runs", tmp_path / "results")
    fill(store)
    (view,), _ = views(catalogue.parts("table-3"), LAPTOP, store, local=False)
    return {row.name: row for row in view.blocks[0].rows}


def test_a_gap_is_our_difference_to_the_baseline_less_the_papers(rows: dict[str, Row]) -> None:
    ap = rows["QFL"].numbers[1]
    assert (ap.paper, ap.paper_delta) == ("39.9", "+0.7")
    assert (ap.ours, ap.spread, ap.ours_delta) == ("72.8", "±1.1", "+2.2")  # 2.0 and 2.5
    assert ap.gap is not None
    assert ap.gap.value == pytest.approx(2.25 - 0.7)
    # Student's t with one degree of freedom, 12.706, times s = 0.3536 over the root of 2.
    assert ap.gap.half == pytest.approx(12.7062 * 0.353553 / 2**0.5, rel=1e-4)
    assert not ap.gap.clear
    assert ap.gap.shade == "up2"


def test_one_seed_has_no_interval_and_a_baseline_no_gap(rows: dict[str, Row]) -> None:
    both, none = rows["both"].numbers[1], rows["none"].numbers[1]
    assert both.gap is not None
    assert both.gap.half is None
    assert both.gap.half_text == ""
    assert (rows["none"].is_baseline, none.gap, none.paper_delta) == (True, None, "")


def test_speeds_of_other_machines_have_no_gap(rows: dict[str, Row]) -> None:
    fps = rows["both"].numbers[0]
    assert (fps.name, fps.ours, fps.gap) == ("FPS", "10.0", None)


@pytest.mark.parametrize(
    ("value", "half", "text", "shade", "clear"),
    [
        (0.29, None, "+0.3", "", False),
        (0.3, 0.2, "+0.3", "up1", True),
        (-1.0, 1.5, "−1.0", "down2", False),
        (-4.0, 1.0, "−4.0", "down4", True),
        (0.04, 0.01, "0.0", "", True),
    ],
)
def test_a_shade_tells_sign_and_size(
    value: float, half: float | None, text: str, shade: str, clear: bool
) -> None:
    gap = Gap(value, half)
    assert (gap.text, gap.shade, gap.clear) == (text, shade, clear)


def test_names_and_commands() -> None:
    assert catalogue.find("table-1a").paper_title == "Table 1(a)"
    assert pictures.title("2b") == "Figure 2(b)"
    assert pictures.title("calibration") == "Calibration"
    assert identifier("cell", "table-1b", "", "SSD512 + joint w/ QFL") == (
        "cell-table-1b-ssd512-plus-joint-w-qfl"
    )
    table = catalogue.find("table-3")
    assert command(table, LAPTOP, [0]) == "make reproduce-table-3"
    assert command(table, profiles.get("coco"), [0, 1]) == (
        'make reproduce-table-3 PROFILE=coco SEEDS="0 1" DATA=/path/to/coco GPUS=8'
    )
    assert command(catalogue.find("table-4"), LAPTOP, []) == "make reproduce-table-4"
    assert command(catalogue.find("table-4"), profiles.get("photos"), []) == ""


def test_numbers_as_they_are_printed() -> None:
    assert [signed(v) for v in (0.05, -0.05, -0.04, 1.25)] == ["+0.1", "−0.1", "0.0", "+1.2"]
    assert [number(v, sign=True) for v in (None, -1.5, 0.001, 2.0)] == [
        "—",
        "−1.50",
        "0.00",
        "+2.00",
    ]
    assert [p_text(p) for p in (None, 0.0004, 0.0123, 0.5)] == ["—", "< 0.001", "0.012", "0.50"]
    (row,) = joined([], [CheckOnRuns("a", (-0.5, 0.5))], set(), why="")[1]
    assert row.bounds == "−0.5 to 0.5"
    assert [as_printed(v, True) for v in (None, 1.2, -0.30000000000000004, 0.0)] == [
        "—", "+1.2", "−0.3", "0",
    ]  # fmt: skip


def test_checks_of_one_kind_share_a_scale() -> None:
    def check(label: str, value: float, how: str = "") -> CheckOnRuns:
        return CheckOnRuns(label, ABOVE, value, p=P(0.5, 0.5), how=how)

    def scale_of(*ours: CheckOnRuns) -> Scale | None:
        return joined([], ours, set(), why="")[0]

    assert scale_of(check("a", 0.1), check("b", 9.0)) is not None  # both AP
    assert scale_of(check("a", 0.1, "a correlation"), check("b", 9.0)) is None
    assert scale_of(check("a", 0.1, "a share"), check("b", 9.0, "a time")) is None


def test_the_deciding_checks_are_those_of_the_document() -> None:
    """Every claim's effect in the report is the one that claims.md shows."""
    results = Path(__file__).parents[3] / "results"
    verdicts = stored.read(results / "claims.json")
    lines = (results / "claims.md").read_text(encoding="utf-8").splitlines()
    rows = [cells for cells in map(_cells, lines) if len(cells) >= 6]
    at_laptop = rows[0].index("laptop: effect")
    shown = {c[1].partition("]")[0][1:]: c[at_laptop] for c in rows if len(c) == len(rows[0])}
    assert len(verdicts.claims) > 50
    for index, claim in enumerate(verdicts.claims):
        found = evidence.evidence(verdicts, index, "laptop", set())
        effect = "—" if found.lead is None else f"{found.lead.ours} {found.lead.interval}".strip()
        assert effect == shown[claim.id].replace("-", "−"), claim.id
        runs = [run for check in found.on_runs.checks for run in check.runs]
        assert not (found.on_runs.is_of_equations and runs)
        assert (found.lead is None) == (found.ours.text == "untested")


def _cells(line: str) -> list[str]:
    return ["", *(cell.strip() for cell in line.strip("| ").split(" | "))]


def test_a_small_share_is_not_none_and_differences_have_a_sign() -> None:
    def ours(label: str, value: float, how: str = "measured") -> str:
        one = CheckOnRuns(label, ABOVE, value, (value, value), P(0.5, 0.5), how=how)
        return joined([], [one], set(), why="")[1][0].ours

    assert ours("a share", 0.0001) == "0.0001"
    assert ours("a share", 0.0) == "0.000"
    assert ours("a share, one − other", 0.25) == "+0.250"
    assert ours("a share, one − other", -0.0002) == "−0.0002"
    assert ours("one − other, AP", 0.834, "") == "+0.83"


def test_what_is_neither_tested_nor_exact_is_not_called_exact() -> None:
    one = CheckOnRuns("a", ABOVE, 0.5, how="so", missing="one seed")
    (check,) = joined([], [one], set(), why="")[1]
    assert (check.p_holds, check.ours) == ("—", "0.50")


@pytest.mark.parametrize(
    ("latex", "text"),
    [
        (r"$|y - \sigma|^\beta$ ($\beta \geq 0$)", "|y - σ|ᵝ (β ≥ 0)"),
        (r"(\lambda_0 \mathcal{L}_B)", "(λ₀ ℒ_B)"),
        (r"\frac{1}{N_{pos}} \sum_z 1_{\{c_z^* > 0\}}", "1/N_pos Σ_z 1{c_z* > 0}"),
        (r"(y_{i+1} - y) \log(\mathcal{S}_i), \hat{y}", "(yᵢ₊₁ - y) log(𝒮ᵢ), ŷ"),
        ("GFL_R_101_FPN_2x, losses_bbox, AP_S", "GFL_R_101_FPN_2x, losses_bbox, AP_S"),
    ],
)
def test_latex_of_quotes_reads_as_text(latex: str, text: str) -> None:
    assert plain(latex) == text


def test_a_scale_has_room_and_stops_at_its_ends() -> None:
    on = scale([1.0, None, 3.0, float("inf")])
    assert on is not None
    assert on.low < 0 < 3 < on.high  # 0 is near, so it is there
    assert scale([None]) is None
    strict = Scale(0.0, 1.0, width=108)
    assert [strict.x(v) for v in (-1, 0, 0.5, 1, 9)] == [4, 4, 54, 104, 104]
    assert [tick.label for tick in Scale(-1.1, 1.1).ticks] == ["−1", "0", "1"]
    placed = strip(strict, (0.5, math.inf), 0.25, 0.75, (0.5, 2.0))
    assert (placed.claimed, placed.interval) == ((54, 104), (54, 104))
    assert (placed.printed, placed.value, placed.zero) == (29, 79, 4)
    assert strip(strict, (-math.inf, 0.5), None, None, None).claimed == (4, 54)


def test_a_curve_is_smoothed_and_ends_where_the_run_did() -> None:
    flat = [{"iter": i, "loss": 2.0} for i in range(1, 201)]
    drawn = curve({0: recorded.record(curve=flat), 1: recorded.record(curve=[])})
    assert drawn is not None
    (line,) = drawn.lines
    points = np.array([pair.split(",") for pair in line.split()], dtype=float)
    assert len(points) <= 81
    assert np.ptp(points[:, 1]) == 0  # the mean of equals
    assert points[-1, 0] == drawn.width - 6
    assert drawn.text.endswith("2.00 (seed 0).")
    assert curve({0: recorded.record(curve=[])}) is None


def test_a_picture_keeps_every_pixel(tmp_path: Path) -> None:
    folder = tmp_path / "figures" / "laptop"
    folder.mkdir(parents=True)
    random = np.random.Generator(np.random.PCG64(0))
    pixels = random.integers(0, 256, (9, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "fig3.png")
    found = {p.title: p for p in pictures.pictures(LAPTOP, Store(tmp_path, tmp_path), local=False)}
    head, _, data = found["Figure 3"].data.partition(",")
    assert head == "data:image/webp;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert np.array_equal(np.asarray(image.convert("RGB")), pixels)
    assert found["Figure 1"].data == ""


def test_a_benchmark_has_the_numbers_of_its_record(tmp_path: Path) -> None:
    (tmp_path / "benchmarks").mkdir()
    assert load(save(LOSS, tmp_path / "benchmarks")) == LOSS
    ((_, found),) = lists.speed(Store(tmp_path, tmp_path))
    assert found.title == "Speed beside stock mmdet: a CPU"
    about, turns, *_ = (part for part in found.parts if isinstance(part, str))
    assert "Ours and stock take turns, 5 times each (15 times at B = 2)" in turns
    assert "our `AblationHead` (gfl/head.py)" in about.replace("\n", " ")
    cases, alone = (part for part in found.parts if isinstance(part, Listing))
    assert cases.columns[:3] == ("head", "B", "objects")
    assert cases.is_numeric == [False, *[True] * 7]
    (row,) = cases.rows
    assert (row[0].text, row[5].text, row[5].value) == ("GFLHead", "2.50 [2.25, 2.75]", 2.5)
    assert [cell.text for cell in row[-2:]] == ["1250", ""]  # MiB, not measured
    assert [cell.text for cell in alone.rows[0]] == ["ATSS", "16", "100", "0.046", "34"]


def test_errors_are_listed_by_kind_and_by_what_repairs_them() -> None:
    cost, _, repaired, _ = (listing for _, _, listing in lists.errors_by_kind(ERRORS))
    assert cost.columns[:3] == ("Rows", "seeds", "AP50")
    at = cost.columns.index("missed")
    cells = cost.rows[0]
    assert (cells[1].text, cells[at].text, cells[at].under) == ("2", "0.80", "±0.07")
    cells = repaired.rows[0]
    assert cells[0].text == "QFL: joint against centerness-branch"
    at = repaired.columns.index("missed")
    assert cells[at].text == "−0.55"  # of -0.5 and -0.6: t(0.975, 1) 0.0707 / √2 = 0.635
    assert (cells[at].value, cells[at].under) == (pytest.approx(-0.55), "±0.64")
    assert not cells[at].is_clear


def test_a_script_cannot_end_its_element() -> None:
    assert bundle.inert("a='</SCRIPT>';b='<!--';c=1<2") == "a='\\x3C/SCRIPT>';b='\\x3C!--';c=1<2"
    script = bundle.datatables()
    assert script.count("window.DataTable=") == 1
    assert "export{" not in script
    assert "</script" not in script.lower()
    assert "Bundled license information" in script
    # Known from elsewhere: the SHA-256 of nothing.
    assert bundle.source("") == "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
