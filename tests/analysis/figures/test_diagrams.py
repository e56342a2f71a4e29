from dataclasses import replace

import pytest

import gfl.register  # noqa: F401  before the head: it quiets what mmdet says when imported
from analysis.figures import diagram, fig1, fig4, fig6
from experiments.named import GFL
from experiments.tables.table1 import TABLE_1A
from gfl.experiment import Experiment
from gfl.head import AblationHead
from gfl.quality import USAGES


def column(drawn, **where):
    rows = drawn.numbers
    for name, value in where.items():
        rows = rows[rows[name] == value]
    return rows


def test_every_use_of_quality_is_in_figure_6_under_table_1as_name(library, smoke, words_of):
    drawn = fig6.fig6.drawn(library, smoke)
    assert set(drawn.numbers.quality) == set(USAGES)
    written = "\n".join(words_of(drawn.figure))
    for row in TABLE_1A.rows:
        assert f") {row.name}" in written


@pytest.mark.parametrize("quality", list(USAGES))
def test_branches_weights_and_scores_of_figure_6_are_the_usages(library, smoke, quality):
    usage = USAGES[quality]
    rows = column(fig6.fig6.drawn(library, smoke), quality=quality)
    branch = column(fig6.fig6.drawn(library, smoke), quality=quality, channels="1")
    assert len(branch) == (usage.use == "branch")
    (score,) = set(rows.score)
    assert score.split(" × ")[1:] == list(branch.output)  # what multiplies the class
    (weight,) = set(rows.box_loss_weight)
    assert (weight == "1") == (usage.box_weight == "one")
    assert ("QFL" in set(rows.loss)) == (usage.use == "joint")


def test_figure_6_follows_what_the_head_reads(library, smoke, monkeypatch, words_of):
    assert "score = class × IoU" in words_of(fig6.fig6(library, smoke))
    monkeypatch.setitem(USAGES, "iou-branch", replace(USAGES["iou-branch"], use="guide"))
    assert "score = class × IoU" not in words_of(fig6.fig6(library, smoke))


def test_channels_of_figure_4_are_those_of_the_head(library, smoke, words_of):
    drawn = fig4.fig4.drawn(library, smoke)
    assert set(drawn.numbers.row) == {"conventional", "GFL"}
    for name, experiment in (("conventional", Experiment()), ("GFL", GFL)):
        general = experiment.boxes == "general"
        head = AblationHead(
            num_classes=80, in_channels=8, feat_channels=8, stacked_convs=1, strides=(8, 16),
            quality=experiment.quality, boxes=experiment.boxes, dfl=experiment.dfl,
            n=experiment.n if general else None, delta=experiment.delta if general else None,
            beta=experiment.beta,
        )  # fmt: skip
        outputs = dict(column(drawn, row=name)[["output", "channels"]].to_numpy())
        numbers = {"C": 80, "1": 1, "4": 4, "4(n+1)": 4 * (experiment.n + 1)}
        layers = [head.gfl_cls, head.gfl_reg]
        if hasattr(head, "gfl_quality"):
            layers.insert(1, head.gfl_quality)
        assert [numbers[c] for c in outputs.values()] == [layer.out_channels for layer in layers]
    written = "\n".join(words_of(drawn.figure))
    for shape in ("H×W×C", "H×W×1", "H×W×4", "H×W×4(n+1)"):
        assert shape in written.splitlines()


def test_channels_of_every_representation():
    boxes = {"dirac": "4", "gaussian": "8", "general": "4(n+1)"}
    for host in ("atss", "fcos"):
        for name, channels in boxes.items():
            assert diagram.box_channels(Experiment(host=host, boxes=name)) == channels


def test_figure_1_multiplies_at_test_only_where_quality_is_separate(library, smoke, words_of):
    drawn = fig1.fig1.drawn(library, smoke)
    assert list(dict.fromkeys(drawn.numbers.score)) == ["class × IoU", "class-IoU"]
    words = words_of(drawn.figure)
    assert words.count("×") == 1
    (quality,) = column(drawn, output="IoU").to_dict("records")
    assert quality["trained_at"] == "positives only"
    (joint,) = column(drawn, output="class-IoU").to_dict("records")
    assert joint["trained_at"] == "all locations"
