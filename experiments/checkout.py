"""Git's view of this project: its commit, uncommitted changes, older code.

Used only if the project is a repository of its own: a clone, a worktree, a submodule. In a folder
of another repository (a zip unpacked there, a vendored copy, tracked or not) the commit would be
that repository's, which does not identify this code: such code counts as having no commit.
"""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path

from gfl.records import digests
from gfl.records.digests import ROOT

# Code that can change a run; a commit is clean for it when these are.
CODE = ("gfl", "experiments", "cli", "pyproject.toml", "constraints.txt", "environment.yml")
TOP = ("rev-parse", "--show-toplevel")
# Variables that redirect git, by its own list (git rev-parse --local-env-vars).
ELSEWHERE = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY")


def code_state(root: Path = ROOT) -> tuple[str | None, bool]:
    """Return the commit of the code that trains, and whether that code differs from it."""
    head = _ask(root, "rev-parse", "--verify", "--quiet", "HEAD")
    status = _ask(root, "status", "--porcelain", "--", *CODE)
    if head is None or status is None:
        return None, True
    return head.decode().strip(), bool(status.strip())


@cache
def uncommitted(root: Path = ROOT) -> frozenset[str]:
    """Return the files of the code that trains that differ from the commit; empty without one."""
    words = ("status", "--porcelain", "-z", "--no-renames", "--untracked-files=all")
    found = _ask(root, *words, "--", digests.PACKAGE) or b""
    return frozenset(os.fsdecode(entry)[3:] for entry in found.split(b"\0") if entry)


def problem(root: Path = ROOT) -> str:
    """Explain why git does not report the project's commit, if the user can fix it; else empty."""
    top = _git(root, *TOP)
    if top is None or _is_own(top, root):
        return ""
    if not top.returncode:
        outer = os.fsdecode(top.stdout.rstrip(b"\n"))
        return f"{root} lies in the repository {outer}, whose commits are not this project's"
    said = os.fsdecode(top.stderr)
    if not any(words in said for words in ("dubious ownership", "unsafe repository")):
        return ""
    reason = said.splitlines()[0].removeprefix("fatal: ")
    return f"git: {reason}; to trust it: git config --global --add safe.directory {root}"


def has_commit(commit: str, root: Path = ROOT) -> bool:
    """Return whether this project's repository has a commit; a shallow clone lacks older ones."""
    return _ask(root, "cat-file", "-e", f"{commit}^{{commit}}") is not None


def last_change(path: Path, root: Path = ROOT) -> tuple[str, str] | None:
    """Return a file's last commit and its time, UTC; None if git does not know."""
    log = ("log", "-1", "--date=format-local:%Y-%m-%d %H:%M", "--format=%h %cd", "--", str(path))
    if not (found := _ask(root, *log)):
        return None
    commit, _, when = found.decode().strip().partition(" ")
    return commit, when


@cache
def code_at(commit: str, root: Path = ROOT) -> digests.Code | None:
    """Return the digests of the code at a commit; None if this repository lacks it."""
    at = f"{commit}^{{commit}}"
    tree = _ask(root, "ls-tree", "-r", "-z", "--full-tree", at, "--", digests.PACKAGE)
    if tree is None:
        return None
    blobs = {}
    for entry in tree.rstrip(b"\0").split(b"\0"):
        described, _, path = entry.partition(b"\t")
        if digests.counts(name := os.fsdecode(path)):
            blobs[name] = described.split(b" ")[2]
    sources = _contents(root, list(blobs.values()))
    if not sources.keys() >= set(blobs.values()):  # a partial clone without access to its origin
        return None
    return {name: digests.of_source(sources[blob]) for name, blob in blobs.items()}


def _contents(root: Path, blobs: list[bytes]) -> dict[bytes, bytes]:
    """Return the contents of the available files, by their git object names."""
    rest = _ask(root, "cat-file", "--batch", given=b"\n".join(blobs) + b"\n") or b""
    contents = {}
    while rest:
        head, _, rest = rest.partition(b"\n")
        name, kind, *size = head.split(b" ")
        if kind == b"missing":
            continue
        length = int(size[0])
        contents[name], rest = rest[:length], rest[length + 1 :]
    return contents


def _ask(root: Path, *words: str, given: bytes | None = None) -> bytes | None:
    """Return what git prints of the project's repository; None if it fails or there is none."""
    top = _git(root, *TOP)
    found = top and _is_own(top, root) and _git(root, *words, given=given)
    return found.stdout if found and not found.returncode else None


def _is_own(top: subprocess.CompletedProcess[bytes], root: Path) -> bool:
    """Return whether git found that the project's folder is the top level of a repository."""
    found = Path(os.fsdecode(top.stdout.rstrip(b"\n")))
    return not top.returncode and found.resolve() == root.resolve()


def _git(
    root: Path, *words: str, given: bytes | None = None
) -> subprocess.CompletedProcess[bytes] | None:
    """Run git on the project's folder, in English and offline; None if git is not installed."""
    environment = {
        **{name: value for name, value in os.environ.items() if name not in ELSEWHERE},
        "LC_ALL": "C",
        "TZ": "UTC",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_OPTIONAL_LOCKS": "0",
    }
    try:
        return subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, input=given, env=environment
        )
    except OSError:
        return None
