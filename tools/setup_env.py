"""Create, complete or mend .venv: run by make on the user's bare Python, standard library only.

Quiet by design: a line a step on the terminal, everything pip says in .venv/setup.log. The
state is written last, so whatever was interrupted is taken up again by the next call.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import errno
import fcntl
import hashlib
import io
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

from setup_steps import LOG, ROOT, VENV, SetupError, Steps

sys.path.insert(0, str(ROOT))

from gfl.records import account  # standard library only

PYTHON = VENV / "bin" / "python"
STATE = VENV / "setup.json"
LOCK = VENV / "setup.lock"
SUPPORTED = ((3, 11), (3, 12))
LAYOUT = 3  # incremented when this file changes the layout of .venv
HEADLESS = "opencv-python-headless"
GIB = 2**30
SLOPPY = (
    "imagecorruptions",
    "imgaug",
    "mmcv",
    "mmdet",
    "mmengine",
    "pycocotools",
    "terminaltables",
)
COMPILE = 'cd "$1" && shift && "$0" -I -W ignore -m compileall -qq -j 0 "$@" || true'
CHECKED = (
    "cv2, hypothesis, matplotlib.pyplot, mmcv, mmdet, mmengine.runner, pandas, pyarrow.parquet, "
    "pycocotools.mask, pytest, cyclopts, rich.progress, scipy.optimize, seaborn, torch, torchvision"
)


def read_requirements(groups: set[str]) -> tuple[list[str], str]:
    """Return the packages to install for these groups, and a key of all their inputs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["test"]]
    for group in sorted(groups):
        wanted += [r for r in extras[group] if not r.startswith(project["name"])]
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    decides = json.dumps([LAYOUT, project["dependencies"], extras, pins, str(ROOT)])
    return wanted, hashlib.sha256(decides.encode()).hexdigest()[:16]


def read_scripts() -> dict[str, str]:
    """Return the project's commands: a function, ``module:name``, for each."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)["project"]["scripts"]


def read_state() -> dict:
    try:
        return dict(json.loads(STATE.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def write_state(state: dict) -> None:
    draft = STATE.with_suffix(".new")
    draft.write_text(json.dumps(state, indent=1), encoding="utf-8")
    draft.replace(STATE)


def venv_version(imports: str = "sys") -> tuple[int, ...] | None:
    """Return the (major, minor) of .venv's Python, None if it does not start."""
    code = f"import sys, {imports}; print(*sys.version_info[:2])"
    try:
        done = subprocess.run(
            [PYTHON, "-I", "-c", code], capture_output=True, encoding="utf-8", errors="replace"
        )
    except OSError:
        return None
    return tuple(map(int, done.stdout.split())) if done.returncode == 0 else None


def site_packages() -> Path:
    return next(iter(sorted(VENV.glob("lib/python3.*/site-packages"))), VENV)


def installed() -> list[str]:
    """List the top level of site-packages: cheap, and reveals a deleted package."""
    with contextlib.suppress(OSError):
        return sorted(p for p in os.listdir(site_packages()) if not p.startswith(("_", "~")))
    return []


def is_current(state: dict, args: argparse.Namespace) -> bool:
    """Return True if nothing is left to do."""
    version = tuple(state.get("python", ()))
    return (
        bool(state.get("done"))
        and not args.repair
        and state["key"] == read_requirements(set())[1]
        and set(args.group) <= set(state["groups"])
        and args.torch_index in ("", state["torch_index"])
        and (not args.python_given or version == sys.version_info[:2])
        and set(state["installed"]) <= set(installed())
        and all((VENV / "bin" / name).exists() for name in read_scripts())
        and venv_version() == version
    )


@contextlib.contextmanager
def locked() -> Iterator[int]:
    """Lock .venv against concurrent set-ups; a second one waits."""
    VENV.mkdir(exist_ok=True)
    with LOCK.open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                print("waiting for another set-up of .venv to end", flush=True)
                fcntl.flock(lock, fcntl.LOCK_EX)
            # else: a file system without locks, where waiting is impossible
        yield lock.fileno()


def is_whole(dist_info: Path) -> bool:
    """Return True if every file in a package's RECORD exists at its length."""
    try:
        with (dist_info / "RECORD").open(newline="", encoding="utf-8") as record:
            for name, _, size in csv.reader(record):
                if size and (dist_info.parent / name).stat().st_size != int(size):
                    return False
    except (OSError, ValueError):
        return False  # pip writes RECORD last
    return True


def forget_damaged() -> None:
    """Make pip reinstall damaged or incomplete packages: it trusts a .dist-info blindly."""
    for dist_info in site_packages().glob("*.dist-info"):
        if dist_info.name.startswith("opencv_python-"):
            continue  # shares its files with the headless build, which overwrites them
        if not is_whole(dist_info):
            shutil.rmtree(dist_info)


def clear_venv() -> None:
    """Empty .venv, except for the lock that this process holds."""
    for entry in VENV.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry != LOCK:
            entry.unlink()


def create(torch_index: str) -> None:
    """Create .venv anew; raise SetupError if the disk is too small."""
    clear_venv()
    # Installed size plus the wheels, which pip downloads before unpacking any.
    need = 9 if sys.platform == "linux" and not torch_index else 3
    free = shutil.disk_usage(VENV).free / GIB
    if free < need:
        cpu = "" if torch_index else "; wheels without CUDA (TORCH_INDEX=, see make help) need 3"
        raise SetupError(f"{VENV} needs {need} GiB of disk, {free:.1f} GiB are free{cpu}")
    print(f"setting up .venv with Python {sys.version.split()[0]} (log: .venv/setup.log)")
    print(f"this happens once, takes some minutes, and up to {need} GiB of disk", flush=True)


def install(steps: Steps, requirements: list[str], torch_index: str) -> None:
    """Install everything into .venv and check that it starts."""
    pip = (PYTHON, "-I", "-m", "pip", "install", "--no-compile")
    if torch_index:
        torch = [r for r in requirements if r.startswith("torch")]
        # --no-deps: that index has torch's dependencies too, but not in our versions.
        steps.run("torch", *pip, "--no-deps", "--index-url", torch_index, *torch)
        write_state(read_state() | {"torch_index": torch_index})
    steps.run("packages", *pip, *requirements)
    # mmdet requires both builds of OpenCV; the other one needs libGL, which servers lack.
    headless = next(site_packages().glob(HEADLESS.replace("-", "_") + "-*.dist-info"))
    if not is_whole(headless):
        steps.run("opencv, headless", *pip, "--force-reinstall", "--no-deps", HEADLESS)
    # The project itself: importable from anywhere, with its commands, without a build.
    (site_packages() / "gfl-reproduction.pth").write_text(f"{ROOT}\n", encoding="locale")
    for name, target in read_scripts().items():
        write_script(VENV / "bin" / name, *target.split(":"))
    # Python compiles the rest at first use, far less work. Here once, silently: these packages'
    # sources cause SyntaxWarnings, which are errors in tests.
    steps.run("byte-compiling", "sh", "-c", COMPILE, PYTHON, site_packages(), *SLOPPY)
    steps.run("checking", PYTHON, "-I", "-W", "ignore", "-c", f"import {CHECKED}")


def write_script(path: Path, module: str, function: str) -> None:
    """Write a command that calls a function in .venv's Python.

    Through sh, as pip does it: a shebang allows neither spaces nor long paths.
    """
    lines = (
        "#!/bin/sh",
        f"'''exec' {shlex.quote(str(PYTHON))} \"$0\" \"$@\"",
        "' '''",
        "import sys",
        f"from {module} import {function}",
        'if __name__ == "__main__":',  # not in a process that multiprocessing spawns
        f"    sys.exit({function}())",
    )
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    path.chmod(0o755)


def build(args: argparse.Namespace, state: dict, lock: int) -> None:
    """Bring .venv to the state that the arguments request."""
    version = venv_version("pip, ssl")
    index = args.torch_index or state.get("torch_index", "")
    fresh = (
        version not in SUPPORTED
        or index != state.get("torch_index", index)
        or (args.python_given and version != sys.version_info[:2])
    )
    groups = set(args.group) | set(state.get("groups", ()))
    requirements, key = read_requirements(groups)
    if fresh:
        create(index)
    else:
        print("completing .venv (log: .venv/setup.log)", flush=True)
        forget_damaged()
    if fresh or args.repair or key != state.get("key"):  # a further group leaves the rest usable
        state = {"done": False, "key": key, "groups": sorted(groups)}
        write_state(state | ({} if fresh else {"torch_index": index}))
    (VENV / "tmp").mkdir(exist_ok=True)
    steps, began = Steps(lock), time.monotonic()
    if fresh:
        steps.run("virtual environment", sys.executable, "-I", "-m", "venv", VENV)
    install(steps, requirements, index)
    shutil.rmtree(VENV / "tmp", ignore_errors=True)
    state = {"done": True, "key": key, "groups": sorted(groups), "torch_index": index}
    write_state(state | {"python": venv_version(), "installed": installed()})
    print(f"ready in {time.monotonic() - began:.0f} s", flush=True)


def explain(error: SetupError | OSError) -> int:
    """Print the error, and the log lines that show it; return the exit code."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        error = SetupError("the disk is full: free some space")
    sys.stdout.flush()
    for line in getattr(error, "lines", ()):
        print(f"    {line}", file=sys.stderr)
    log = f" (log: {LOG})" if LOG.exists() else ""
    print(f"set-up: {error}; then run make again{log}", file=sys.stderr)
    return 2


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--group", action="append", default=[], choices=("dev", "notebooks"))
    parser.add_argument("--torch-index", default="")
    parser.add_argument("--python-given", action="store_true", help="PYTHON= was on the line")
    parser.add_argument("--repair", action="store_true", help="check every installed file")
    args = parser.parse_args()
    if isinstance(sys.stdout, io.TextIOWrapper):  # paths and pip's output, in any encoding
        sys.stdout.reconfigure(errors="backslashreplace")
    # End the running step as well, as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    account.complete()
    try:
        if is_current(read_state(), args):
            return 0
        with locked() as lock:
            state = read_state()
            if not is_current(state, args):  # another set-up may have done it
                build(args, state, lock)
    except KeyboardInterrupt:
        print("\nset-up interrupted: run make again to go on", file=sys.stderr)
        return 130
    except (SetupError, OSError) as error:
        return explain(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
