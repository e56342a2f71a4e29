"""What differs between two runs."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import recorded

from cli.main import main
from experiments import diff, profiles
from experiments.diff import ABSENT, Difference
from experiments.matrix import select
from gfl import config
from gfl.experiment import Experiment
from gfl.records.record import Store, run_id

SMOKE = profiles.get("smoke")


@pytest.fixture
def ask(tmp_path: Path, capsys: pytest.CaptureFixture):
    def call(*words: str) -> str:
        folders = ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
        assert main(["diff", *words, *folders]) == 0
        assert list(tmp_path.iterdir()) == []
        return capsys.readouterr().out

    return call


def test_nested_settings_are_compared_by_path() -> None:
    a = {"x": {"y": 1, "z": (1, 2)}, "list": [{"p": 1}, {"q": 2}], "same": [1, {"r": 1}]}
    b = {"x": {"y": 2, "z": [1, 2]}, "list": [{"p": 1}], "same": [1, {"r": 1}], "new": None}
    assert diff.differences(a, b) == [
        Difference("x.y", 1, 2),
        Difference("list.1.q", 2, ABSENT),
        Difference("new", ABSENT, None),
    ]
    assert diff.differences({"a": {}}, {"a": {"b": 1}}) == [
        Difference("a", {}, ABSENT),
        Difference("a.b", ABSENT, 1),
    ]


def test_factors_and_settings_of_two_rows(ask) -> None:
    out = ask("table-3/QFL", "table-3/none")
    assert "factors: 1 differs\n           a      b\n  quality  joint  centerness-branch\n" in out
    assert "  model.bbox_head.quality  joint  centerness-branch\n" in out
    assert "records: neither has been finished, locally or in the reference" in out


def test_the_same_run_has_no_difference(ask) -> None:
    # Two cells of the paper that are one run.
    out = ask("table-1c/2", "table-3/QFL")
    assert out.endswith("\n\nno difference: a and b are one run\n")


def test_each_run_may_have_its_own_seed_and_profile(ask) -> None:
    content = json.loads(ask("table-3/QFL", "table-3/QFL", "--seeds", "0", "1", "--json"))
    assert content["factors"] == {"seed": {"a": 0, "b": 1}}
    assert content["settings"] == {"randomness.seed": {"a": 0, "b": 1}}
    assert (content["a"]["seed"], content["b"]["seed"]) == (0, 1)

    content = json.loads(ask("table-3/QFL", "coco:table-3/QFL", "--json"))
    assert content["factors"] == {"profile": {"a": "laptop", "b": "coco"}}
    assert content["settings"]["train_cfg.max_epochs"] == {"a": 3, "b": 12}
    # An optimizer's setting that the other has not is absent, not null.
    assert content["settings"]["optim_wrapper.optimizer.fused"] == {"a": True}


def test_an_id_is_found_in_whatever_profile_it_is_of(ask) -> None:
    qfl = Experiment(quality="joint")
    smoke, coco = run_id(qfl, SMOKE, 3), run_id(qfl, profiles.get("coco", 8), 0)
    tuned = replace(profiles.get("laptop"), eval_interval=1)
    tuning = run_id(Experiment(), tuned, profiles.TUNING_SEED)
    content = json.loads(ask(smoke, coco, "--json"))
    assert content["factors"] == {
        "profile": {"a": "smoke", "b": "coco"}, "seed": {"a": 3, "b": 0}
    }  # fmt: skip
    assert content["settings"].keys() == {
        d.path for d in diff.differences(
            config.build(qfl, SMOKE, 3), config.build(qfl, profiles.get("coco", 8), 0)
        )
    }  # fmt: skip
    assert "tuning/lr 0.008" in ask(tuning, smoke)


def test_records_tell_by_which_code_they_were_made(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs", tmp_path / "results")
    _, runs = select("table-3", SMOKE, [0])
    for run, commit in zip(runs[:2], ("aaa", "bbb"), strict=True):
        made = {"commit": commit, "versions": {"torch": "2", "numpy": commit}}
        recorded.of(run, **made).save(store.run_dir("smoke", run.id) / "record.json")
    sides = [diff.of_run(run, store) for run in runs]
    found = diff.compare(sides[0], sides[1], store)
    assert found.records == [
        Difference("commit", "aaa", "bbb"), Difference("versions.numpy", "aaa", "bbb")
    ]  # fmt: skip
    assert "records: 2 differ" in found.lines()
    assert "code: not compared; of a: that commit is not in this repository; of b: " in (
        "\n".join(found.lines())
    )
    found = diff.compare(sides[0], sides[2], store)
    assert found.lines()[-1] == "records: b has not been finished, locally or in the reference"


def test_two_records_of_one_run_differ_in_code_and_versions(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    store = Store(tmp_path / "runs", tmp_path / "results")
    _, (run, *_) = select("table-3", SMOKE, [0])
    path = store.run_dir("smoke", run.id) / "record.json"
    made = recorded.of(run, code={"gfl/a.py": "1", "gfl/b.py": "1"}, versions={"torch": "2.11.0"})
    made.save(path)
    other = replace(made, code={"gfl/a.py": "2", "gfl/c.py": "3"}, versions={"torch": "2.10.0"})
    other.save(store.reference_path("smoke", run.id))
    folders = ["--profile", "smoke", "--runs", str(store.runs), "--results", str(store.results)]

    def ask(*words: str) -> str:
        assert main(["diff", *words, *folders]) == 0
        return capsys.readouterr().out

    found = json.loads(ask(run.id, run.id, "--json"))
    assert (found["a"]["record"], found["b"]["record"]) == ("local", "reference")
    assert found["code"] == {
        "gfl/a.py": {"a": "1", "b": "2"}, "gfl/b.py": {"a": "1"}, "gfl/c.py": {"b": "3"}
    }  # fmt: skip
    assert found["records"] == {"versions.torch": {"a": "2.11.0", "b": "2.10.0"}}
    text = ask("table-3/none", "table-3/none")
    assert "(smoke; table-3/none), the local record\n" in text
    assert "one run: no factor or setting differs\n\ncode: 3 differ\n" in text
    assert "  gfl/b.py  1  —\n" in text
    # By file and by folder.
    reference = str(store.reference_path("smoke", run.id))
    assert json.loads(ask(str(path.parent), reference, "--json"))["code"] == found["code"]
    assert json.loads(ask(reference, reference, "--json"))["code"] == {}
    joint = json.loads(ask(reference, "table-3/QFL", "--json"))
    assert joint["factors"] == {"quality": {"a": "centerness-branch", "b": "joint"}}

    replace(made, code={}, commit=None).save(path)
    assert "code: not compared; of a: its record names no commit\n" in ask(run.id, run.id)
    found = json.loads(ask(run.id, run.id, "--json"))
    assert (found["code"], found["code_unknown"]) == ({}, "of a: its record names no commit")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["table-3", "table-3/none"], "'table-3' is 4 runs; name one: table-3/none, table-3/QFL"),
        (["photos:table-4/GFL R-50", "table-3"], "Table 4: its rows are run at --profile smoke"),
        (["cooc:table-3/QFL", "table-3/none"], "unknown profile 'cooc'; did you mean 'coco'?"),
        (["nope-s0-12345678", "table-3/none"], "no run 'nope-s0-12345678' at the laptop profile"),
        (["nowhere.json", "table-3/none"], "nowhere.json: not a usable record (No such file or"),
        (["3/QFL", "3/QFL", "--seeds", "0", "1", "2"], "two runs have at most two seeds, not 3"),
    ],
)
def test_a_mistake_is_one_line(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture
) -> None:
    assert main(["diff", *words]) == 2
    err = capsys.readouterr().err
    assert complaint in err
    assert err.count("\n") == 1
    assert len(err) < 200
