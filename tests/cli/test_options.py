import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import setup_env

from cli.main import COMMANDS, main
from experiments import checkout
from experiments.queue.worker import ROOT

HEAVY = {"torch", "torchvision", "mmengine", "mmcv", "mmdet", "pandas", "matplotlib", "yaml"}


def options(tmp_path: Path) -> list[str]:
    return ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["bench", "--help"],
        ["own", "--help"],
        ["status"],
        ["run", "table-3", "--dry-run"],
        ["status", "--json"],
        ["config", "table-3/QFL"],
        ["diff", "table-3/QFL", "table-3/none"],
        ["table", "table-3", "--no-write"],
    ],
    ids=" ".join,
)
def test_what_only_reads_does_not_import_what_trains(tmp_path: Path, words: list[str]) -> None:
    words = words if "--help" in words else words + options(tmp_path)
    program = (
        f"import sys\nfrom cli.main import main\nassert main({words!r}) == 0\n"
        f"heavy = {HEAVY!r} & set(sys.modules)\nassert not heavy, heavy\n"
    )
    command = [sys.executable, "-c", program]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["run", "tabel-3"], "unknown table 'tabel-3'; did you mean 'table-3'?"),
        (["run", "table-3/QFLL"], "Table 3 has no row 'QFLL'; did you mean 'QFL'?"),
        (["run", "table-3", "--profile", "laptp"], "unknown profile 'laptp'; did you mean"),
        (["run", "table-3", "--seeds", "one"], "--seeds 'one': expected a whole number"),
        (["run", "table-3", "--seeds", "-1"], "--seeds"),
        (["run", "table-3", "--max-iters", "0"], "--max-iters '0': expected a whole number, 1"),
        (
            ["run", "table-3", "--checkpoint-minutes", "0"],
            "--checkpoint-minutes '0': expected minutes, above 0",
        ),
        (["run", "table-3", "--gpus", "0"], "--gpus '0': expected a whole number, 1"),
        (["run", "3", "--profile", "smoke", "--gpus", "3"], "3 GPUs cannot share a batch of 4"),
        (
            ["run", "table-3", "--device", "cud"],
            '"cud" for --device. Choose from: "auto", "cpu", "cuda". Did you mean "cuda"?',
        ),
        (["run", "table-3", "--seds", "1"], "unknown option '--seds'; did you mean '--seeds'?"),
        (["run", "table-3", "--data", "x"], "--data is for --profile coco"),
        (["run"], "no run named: gfl run table-3"),
        (["config", "3", "4"], "unexpected argument '4'; see gfl config --help"),
        (["run", "table-3", "--seeds"], "run: --seeds needs a value"),
        (["own", "x", "--pretrained", "--from-scratch"], "--from-scratch specified multiple times"),
        (["status", "--s", "1"], "ambiguous option --s: --seeds or --stale"),
        (["predict", "table-3", "--run", "x"], "unknown option '--run'; known: --seeds, "),
        (["photos", "x", "--run", "x"], "unknown option '--run'; there are none"),
        (["rum"], 'unknown command "rum". Did you mean "run"?'),
        (["train-own", "x"], 'unknown command "train-own". Did you mean "own"?'),
        (["bench", "los"], 'unknown command "los". Did you mean "loss"?'),
        ([], "no command named; see gfl --help"),
        (["status", "tabel-3"], "did you mean 'table-3'?"),
        (["config", "table-3"], "'table-3' is 4 runs; name one: table-3/none, table-3/QFL"),
        (["promote"], "nothing to promote"),
        (["promote", "tabel-3"], "did you mean 'table-3'?"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    tmp_path: Path, words: list[str], complaint: str, capsys: pytest.CaptureFixture
) -> None:
    words = words if words[:1] in ([], ["rum"], ["own"], ["bench"]) else words + options(tmp_path)
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert complaint in err
    assert err.startswith("gfl: ")
    assert err.count("\n") == 1


def test_an_option_may_be_abbreviated(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["status", "3", "--prof", "smoke", "--see=1", *options(tmp_path)]) == 0
    assert "smoke profile: 4 runs, 4 to train" in capsys.readouterr().out
    assert main(["run", *options(tmp_path), "--", "--prof"]) == 2  # none after --
    assert "unknown table or run '--prof'" in capsys.readouterr().err


def test_of_an_option_given_twice_the_last_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """``make status ARGS="--profile smoke"`` names the profile twice."""
    profiles = ["--profile", "laptop", "--profile", "smoke"]
    assert main(["status", "3", *profiles, *options(tmp_path)]) == 0
    assert "smoke profile: 4 runs" in capsys.readouterr().out


def test_help_names_every_command_and_its_options(capsys: pytest.CaptureFixture) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for commands in COMMANDS.values():
        for name in commands:
            assert re.search(rf"^│ {name} +[A-Z]", out, re.MULTILINE), name  # and what it does
            assert main([name, "--help"]) == 0
            shown = capsys.readouterr().out
            assert shown.startswith(f"Usage: gfl {name}")
            assert "--runs" not in shown


def test_the_version_is_the_packages_with_the_codes_commit(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for state, said in (
        (("ab" * 20, False), "commit abababa"),
        (("ab" * 20, True), "commit abababa, with uncommitted changes"),
        ((None, True), "no commit"),
    ):
        monkeypatch.setattr(checkout, "code_state", lambda state=state: state)
        assert main(["--version"]) == 0
        assert capsys.readouterr().out == f"gfl {declared} ({said})\n"


def test_the_script_calls_the_command(tmp_path: Path) -> None:
    (target,) = setup_env.read_scripts().values()
    script = tmp_path / "it's a folder" / "gfl"
    script.parent.mkdir()
    setup_env.write_script(script, *target.split(":"))
    done = subprocess.run([script, "run"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "gfl: no run named: gfl run table-3, table-1a/IoU-branch/ATSS, or all\n"


def test_a_process_that_the_script_spawns_does_not_run_the_command_again(tmp_path: Path) -> None:
    (tmp_path / "spawns.py").write_text(
        "from concurrent.futures import ProcessPoolExecutor\n"
        "from multiprocessing import get_context\n\n"
        "def command():\n"
        "    print('command')\n"
        "    with ProcessPoolExecutor(1, get_context('spawn')) as pool:\n"
        "        return pool.submit(abs, -3).result()\n"
    )
    script = tmp_path / "gfl"
    setup_env.write_script(script, "spawns", "command")
    paths = {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [script], capture_output=True, text=True, env=os.environ | paths, timeout=60
    )
    assert (done.returncode, done.stdout) == (3, "command\n")
