import subprocess
import sys
from pathlib import Path

import pytest

from cli.experiments import main
from experiments.queue.worker import ROOT

HEAVY = {"torch", "torchvision", "mmengine", "mmcv", "mmdet", "pandas", "matplotlib", "yaml"}


def options(tmp_path: Path) -> list[str]:
    return ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("experiments", ["--help"]),
        ("experiments", ["status"]),
        ("experiments", ["run", "table-3", "--dry-run"]),
        ("experiments", ["status", "--json"]),
        ("experiments", ["config", "table-3/QFL"]),
        ("experiments", ["diff", "table-3/QFL", "table-3/none"]),
        ("analysis", ["--help"]),
        ("analysis", ["table", "table-3", "--no-write"]),
    ],
)
def test_what_only_reads_does_not_import_what_trains(
    tmp_path: Path, module: str, words: list[str]
) -> None:
    words = words if "--help" in words else words + options(tmp_path)
    program = (
        f"import sys\nfrom {module}.__main__ import main\n"
        f"try:\n    main({words!r})\nexcept SystemExit:\n    pass\n"
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
        (["run", "table-3", "--gpus", "0"], "--gpus '0': expected a whole number, 1"),
        (["run", "3", "--profile", "smoke", "--gpus", "3"], "3 GPUs cannot share a batch of 4"),
        (["run", "table-3", "--device", "cud"], "--device: unknown 'cud'; did you mean 'cuda'?"),
        (["run", "table-3", "--seds", "1"], "unknown argument '--seds'; did you mean '--seeds'?"),
        (["run", "table-3", "--data", "x"], "--data is for --profile coco"),
        (["run"], "the following arguments are required: target"),
        (["rum"], "unknown 'rum'; did you mean 'run'?"),
        ([], "the following arguments are required: command"),
        (["status", "tabel-3"], "did you mean 'table-3'?"),
        (["config", "table-3"], "'table-3' is 4 runs; name one: table-3/none, table-3/QFL"),
        (["promote"], "nothing to promote"),
        (["promote", "tabel-3"], "did you mean 'table-3'?"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    tmp_path: Path, words: list[str], complaint: str, capsys: pytest.CaptureFixture
) -> None:
    words = words + options(tmp_path) if words and words[0] != "rum" else words
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert complaint in err
    assert err.startswith("experiments: ")
    assert err.count("\n") == 1
