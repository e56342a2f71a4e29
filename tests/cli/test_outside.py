"""Names and paths from outside, end to end: trained on, printed, drawn, read back."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gfl.register  # noqa: F401  before mmdet: it quietens it

# isort: split
import numpy as np
import own_folder
import pytest
from PIL import Image
from runs_made import make_run

from cli.detect import drawn_as
from cli.main import main
from cli.own import metric_lines
from experiments import own
from experiments.profiles import SMOKE
from experiments.queue.worker import ROOT
from gfl import terminal
from gfl.data.own.spec import OwnSpec, OwnSplit
from gfl.experiment import Experiment
from gfl.files import sha256, write_text
from gfl.records.record import METRICS, Request

SHORT = ("--epochs", "1", "--size", "64", "--batch", "3", "--device", "cpu")
NOT_UTF8 = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
ODD = 'it\'s "mine" $HOME {{ fileDirname }} 数据 =1+1'  # a folder's name, and not only a test's
HOSTILE = ("nut\n", "\x1b[31mred\x1b[0m [bold]", "half \ud83d", "=1+1|x", "\u202egpj", "螺" * 90)


def with_names(root: Path, names: tuple[str, str]) -> Path:
    """The folder of own_folder with other names of its two classes, in UTF-8."""
    for split in own_folder.SPLITS:
        path = own_folder.path(root, split)
        content = json.loads(path.read_bytes())
        for category, name in zip(content["categories"], names, strict=True):
            category["name"] = name
        path.write_bytes(json.dumps(content, ensure_ascii=False).encode())
    return root


def call(*words: object, environment: dict[str, str]) -> subprocess.CompletedProcess:
    """A command as a person gives it."""
    command = [sys.executable, "-m", "cli", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True)


def test_no_locale_changes_what_is_learned_of_names_outside_of_ascii(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """What this process learns and finds is what one in such a locale does."""

    def here(*words: object) -> str:
        assert main([*map(str, words)]) == 0
        return capsys.readouterr().out

    def elsewhere(*words: object) -> str:
        done = call(*words, environment=NOT_UTF8)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stdout.decode()

    root = with_names(own_folder.write(tmp_path / "größe"), ("Schlüssel", "螺母"))
    for split in own_folder.SPLITS:  # and of files
        path = own_folder.path(root, split)
        content = json.loads(path.read_bytes())
        image = content["images"][0]
        old, image["file_name"] = image["file_name"], "größe.png"
        (root / f"{split}2017" / old).rename(root / f"{split}2017" / "größe.png")
        path.write_bytes(json.dumps(content, ensure_ascii=False).encode())
    left = []
    for name, run in (("a", here), ("b", elsewhere)):
        out = tmp_path / name
        assert "Schl" in run("own", root, "--out", out, *SHORT)
        assert Request.load(out).profile.own.classes == ("Schlüssel", "螺母")
        left.append((out / "predictions.json").read_bytes())
        picture = root / "val2017" / "größe.png"
        words = ("detect", "--run", out, picture, "--out", tmp_path / "drawn", "--json")
        found = json.loads(run(*words, "--threshold", "0"))
        assert {one["category"] for one in found["detections"]} <= {"Schlüssel", "螺母"}
        assert found["drawn"] == str(tmp_path / "drawn/größe.boxes.png")
    assert left[0] == left[1]


def test_an_odd_folder_with_odd_names_is_trained_on_and_predicted_with(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    root = with_names(own_folder.write(tmp_path / ODD), ("[red]螺母 $x$", "=1+1|x"))
    root = root.rename(os.fsdecode(os.fsencode(root) + b"\xff"))  # no UTF-8
    for path in (*root.rglob("*"), root):
        path.chmod(0o555 if path.is_dir() else 0o444)  # nothing is written beside the data
    out = tmp_path / "out of 'it'"
    assert main(["own", str(root), "--out", str(out), *SHORT]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "  2 classes: [red]螺母 $x$, =1+1|x"
    assert lines[0].endswith("=1+1\\udcff")
    table = lines[-5:-2]
    assert [line.split()[0] for line in table] == ["all", "[red]螺母", "=1+1|x"]
    command = lines[-1].removesuffix("IMAGE_OR_FOLDER")
    words = subprocess.run(
        ["bash", "-c", f"printf '%s\\n' {command}"], capture_output=True, check=True
    ).stdout.decode()
    assert words.splitlines()[-1] == str(out)
    assert Request.load(out).data_root == str(root)
    drawn = tmp_path / "drawn"
    names = ["detect", "--run", str(out), str(root / "val2017"), "--out", str(drawn)]
    assert main([*names, "--threshold", "0"]) == 0
    assert len(list(drawn.iterdir())) == own_folder.SPLITS["val"]
    for path in (*root.rglob("*"), root):
        path.chmod(0o755)


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A run whose classes have names that nobody should give them."""
    split = OwnSplit("a.json", "a", "0")
    profile = replace(SMOKE, name="own", dataset=None, own=OwnSpec(HOSTILE, split, split))
    make_run(tmp_path / "run", Experiment(quality="joint"), profile)
    return tmp_path / "run"


@pytest.fixture
def on_a_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., tuple[int, bytes, bytes]]:
    """Run a command in this process with streams of an encoding: its code, and what it wrote."""

    def call(encoding: str, *words: object) -> tuple[int, bytes, bytes]:
        streams = {
            name: io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
            for name in ("stdout", "stderr")
        }
        with monkeypatch.context() as patched:
            for name, stream in streams.items():
                patched.setattr(sys, name, stream)
            patched.setattr(sys, "excepthook", sys.excepthook)
            code = main([str(word) for word in words])
        written = [stream.buffer.getvalue() for stream in streams.values()]  # type: ignore[attr-defined]
        return code, *written  # type: ignore[return-value]

    return call


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
def test_no_class_name_breaks_predict(
    hostile: Path, tmp_path: Path, encoding: str, on_a_terminal: Callable
) -> None:
    picture = tmp_path / "a\n\x1b[31mb.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(picture)
    words = ["detect", "--run", hostile, picture, "--threshold", "0"]
    words += ["--out", tmp_path / "out"]
    code, out, err = on_a_terminal(encoding, *words)
    assert code == 0, err
    assert b"\x1b" not in out + err
    (line,) = out.decode(encoding).splitlines()
    assert line.startswith(f"{tmp_path}/a\\n\\x1b[31mb.png: ")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a__[31mb.boxes.png"]
    code, out, _ = on_a_terminal(encoding, *words, "--json")
    categories = {one["category"] for one in json.loads(out)["detections"]}
    assert categories <= set(HOSTILE)
    assert categories


def test_a_picture_with_the_longest_name_is_drawn(tmp_path: Path) -> None:
    file = tmp_path / ("螺" * 83 + ".png")  # 253 bytes
    file.touch()
    (output,) = drawn_as([file], None)
    write_text(output, "")
    assert output.is_file()


def test_a_table_of_hostile_names_keeps_its_columns() -> None:
    metrics = dict.fromkeys(METRICS, 1.0)
    names = ("all classes", "all classes", *HOSTILE)  # a class may have that name, too
    lines = metric_lines([(name, metrics) for name in names])
    assert len(lines) == 1 + len(names)
    assert len({terminal.escape.width(line) for line in lines}) == 1
    assert all(line.isprintable() for line in lines)


def test_a_run_of_ones_own_lies_in_a_folder_of_a_sound_name(tmp_path: Path) -> None:
    data = own.read(own_folder.write(tmp_path / "a\n\x1b[2J\u202eb"))
    assert own.default_folder(data) == own.FOLDER / "a__[2J_b"
    data = own.read(own_folder.write(tmp_path / "it's 数据"))
    assert own.default_folder(data) == own.FOLDER / "it's 数据"


COMMANDS = (
    ("table", "table-1a", "--no-write"),
    ("table", "table-1c", "--no-write"),
    ("table", "4", "--no-write"),
    ("--help",),
    ("status",),
    ("diff", "table-3/QFL", "table-1c/2"),
    ("run", "table-1c", "--dry-run"),
    ("own", "--help"),
    ("run", "tabelle-β"),
    ("run", "table-3/\x1b[31m螺\n\ud83d"),
)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words[:3]).strip())
def test_every_command_prints_on_any_terminal(
    words: tuple[str, ...], encoding: str, on_a_terminal: Callable
) -> None:
    code, out, err = on_a_terminal(encoding, *words)
    assert b"Traceback" not in err
    assert b"\x1b" not in out + err
    if code == 2:
        assert len(err.splitlines()) == 1
    else:
        assert code == 0
        assert out.decode(encoding)


def test_a_table_on_an_ascii_terminal_is_legible_and_in_line() -> None:
    words = [sys.executable, "-m", "cli", "table", "table-1c", "--no-write"]
    done = subprocess.run(
        words, cwd=ROOT, env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode("ascii")
    assert "beta" in text
    assert "\\u" not in text
    header = next(line for line in text.splitlines() if "AP50" in line)
    start = header.index("AP50")
    rows = [line for line in text.splitlines() if line.split()[1:2] == ["paper"] and line[start:]]
    rows = [line for line in rows if line[0].isdigit()]
    assert len(rows) == 5
    assert all(line[start : start + 4] in ("55.4", "58.1", "58.5") for line in rows)


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("config", "table-3/QFL"),
        ("--help",),
        ("table", "3", "--no-write"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_a_pipe_that_is_closed_early_is_no_error(words: tuple[str, ...]) -> None:
    both = words[0] == "status"  # as `2>&1 | head` gives it
    read, write = os.pipe()
    os.close(read)  # as `| head` has done, once it has its lines
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", *words],
        cwd=ROOT,
        stdout=write,
        stderr=write if both else subprocess.PIPE,
    )
    os.close(write)
    _, complaint = process.communicate()
    assert not complaint
    assert process.returncode == 0


def test_what_is_written_for_spreadsheets_has_no_formula() -> None:
    for path in sorted((ROOT / "results").rglob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.reader(file):
                for field in row:
                    assert field[:1] not in ("=", "@", "\t", "\r"), path
                    if field[:1] in ("+", "-"):
                        float(field)


def test_the_same_data_in_odd_places_are_the_same_run(tmp_path: Path) -> None:
    plain = own.read(own_folder.write(tmp_path / "plain"))
    odd = own.read(own_folder.write(tmp_path / ODD))
    assert sha256(plain.val_file) == sha256(odd.val_file)
    assert own.plan(plain).run.id == own.plan(odd).run.id
