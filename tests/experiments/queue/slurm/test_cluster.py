"""Settings of a cluster: read strictly, and given to Slurm as they are."""

from __future__ import annotations

import tomllib
from dataclasses import fields, replace
from pathlib import Path

import pytest

from experiments import profiles
from experiments.queue.machine import Machine
from experiments.queue.slurm.cluster import (
    KEYS,
    LEAST_WARNING,
    SECONDS_TO_STORE,
    Cluster,
    check,
    load,
    minutes,
)
from experiments.queue.slurm.submit import executor, parameters
from experiments.queue.worker import ROOT
from gfl.errors import UserError

COCO, SMOKE = profiles.get("coco"), profiles.get("smoke")
EXAMPLE = ROOT / "cluster.example.toml"


def read(folder: Path, text: str) -> Cluster:
    (folder / "cluster.toml").write_text(text)
    return load(None, folder)


def test_every_key_has_a_check_and_the_example_gives_each() -> None:
    names = [field.name for field in fields(Cluster)]
    assert list(KEYS) == names
    assert list(tomllib.loads(EXAMPLE.read_text())) == names
    found = load(EXAMPLE, ROOT)
    assert (found.time, found.setup) == (720, ("module load cuda",))
    assert found.sbatch == {"qos": "normal", "exclude": "node[017,023]"}


def test_the_examples_defaults_are_the_defaults() -> None:
    text = " ".join(line.strip("# ") for line in EXAMPLE.read_text().splitlines())
    default = Cluster()
    assert f"at least {LEAST_WARNING}; default: {default.warning_seconds}" in text
    assert f"is not requeued; default: {default.max_timeouts}" in text
    assert f"limit); default: {default.parallel}" in text
    assert default.time == 24 * 60
    assert "goes on; default: a day" in text.replace("# ", "")


def test_without_a_file_the_cluster_decides(tmp_path: Path) -> None:
    assert load(None, tmp_path) == Cluster()


@pytest.mark.parametrize(
    ("written", "expected"),
    # The six notations of sbatch's manual, and seconds, which round up.
    [
        ("90", 90),
        ("30:00", 30),
        ("12:00:00", 720),
        ("2-12", 60 * 60),
        ("2-12:30", 60 * 60 + 30),
        ("1-00:00:01", 24 * 60 + 1),
        ("0:30", 1),
    ],
)
def test_a_time_in_slurms_notation(written: str, expected: int) -> None:
    assert minutes(written) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('partiton = "gpu"', "unknown key 'partiton'; did you mean 'partition'?"),
        ("partition = 3", "partition = 3: expected text"),
        ('partition = "a\\nb"', "partition = 'a\\nb': expected text"),
        ("nodes = 0", "nodes = 0: expected a whole number, 1 or more"),
        ("nodes = true", "nodes = True: expected a whole number, 1 or more"),
        ("nodes = 2.0", "nodes = 2.0: expected a whole number, 1 or more"),
        ('time = "soon"', "time = 'soon': expected minutes, or a time"),
        ("time = 0", "time = 0: expected minutes, or a time"),
        ('time = "0:00"', "time = '0:00': expected minutes, or a time"),
        ("warning_seconds = 79", "warning_seconds = 79: expected a whole number, 80 or more: 60"),
        ('setup = "module load"', "setup = 'module load': expected a list of lines"),
        ("sbatch = 1", "sbatch = 1: expected a table of options"),
        ('[sbatch]\ncomment = "a\\nb"', "sbatch.comment = 'a\\nb': expected one line of text"),
        ("[sbatch]\nmem = '1G'", "sbatch.mem: the key memory sets it"),
        ("[sbatch]\noutput = 'x'", "sbatch.output: gfl sets it"),
        (
            "[sbatch]\nexclusive = false",
            "sbatch.exclusive = False: expected text, a number or true",
        ),
        ("[sbatch]\nlicenses = ['a']", "sbatch.licenses = ['a']: expected text, a number or true"),
        ("partition = ", "not TOML"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_right(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(UserError) as caught:
        read(tmp_path, text)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "cluster.toml"))


def test_a_warning_leaves_time_to_store_a_checkpoint_and_a_limit_time_to_train() -> None:
    assert LEAST_WARNING > SECONDS_TO_STORE
    assert Cluster().warning_seconds >= LEAST_WARNING
    assert check(Cluster(time=3)) == Cluster(time=3)
    # Slurm's signal may come a minute early: 90 s before a job's end are 150 at times.
    for cluster, least in ((Cluster(time=2), 3), (Cluster(time=10, warning_seconds=600), 12)):
        with pytest.raises(UserError, match=rf"time = \d+ \(minutes\): expected {least} or more"):
            check(cluster)
        check(replace(cluster, time=least))


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent.toml: No such file"):
        load(tmp_path / "absent.toml", ROOT)


def test_the_papers_gpus_are_shared_by_the_nodes() -> None:
    cluster = Cluster(nodes=2, gres="gpu:a100", cpus_per_process=6, memory="64G")
    found = parameters(COCO, Machine(gpus=8, nodes=2), cluster)
    assert (found["nodes"], found["ntasks_per_node"], found["gres"]) == (2, 1, "gpu:a100:4")
    assert (found["cpus_per_task"], found["mem"]) == (24, "64G")
    assert "gpus_per_node" not in found
    assert parameters(COCO, Machine(gpus=8), Cluster())["gpus_per_node"] == 8
    on_cpu = parameters(SMOKE, Machine(), cluster)
    assert "gres" not in on_cpu
    assert parameters(SMOKE, Machine(), Cluster())["cpus_per_task"] == 1


def test_the_script_says_what_the_settings_say(tmp_path: Path) -> None:
    cluster = replace(
        Cluster(partition="gpu", account="vision", time=90, parallel=2, constraint="a100"),
        setup=("module load cuda",),
        sbatch={"qos": "high", "exclusive": True},
    )
    script = executor(COCO, Machine(gpus=8), cluster, tmp_path / "jobs").script(4)
    flags = {line.removeprefix("#SBATCH ") for line in script.splitlines() if "#SBATCH" in line}
    assert flags >= {
        "--partition=gpu", "--account=vision", "--time=90", "--array=0-3%2", "--constraint=a100",
        "--qos=high", "--exclusive", "--requeue", "--signal=USR2@90", "--gpus-per-node=8",
        f"--chdir={ROOT}",
    }  # fmt: skip
    assert script.index("module load cuda") < script.index("srun ")
    assert " --cpus-per-task=40 " in script.partition("srun ")[2]
    assert "--array" not in executor(COCO, Machine(gpus=8), cluster, tmp_path / "jobs").script(1)
