"""What git is asked of the project: in clones, worktrees, submodules, zips, others' folders."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import recorded

from experiments import checkout
from experiments.promote import objection
from gfl.records import digests


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this machine's git settings."""
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, "/dev/null")


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always")
    done = subprocess.run(
        ["git", "-C", str(folder), *who, *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def project(folder: Path, source: str = "x = 1\n") -> Path:
    """The project's files, of which few are needed."""
    (folder / "gfl").mkdir(parents=True)
    (folder / "gfl/losses.py").write_text(source)
    return folder


def repository(folder: Path) -> str:
    """Make a folder with what is in it a repository; return its commit."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", "x")
    return git(folder, "rev-parse", "HEAD")


def test_a_clone_is_at_its_commit_with_or_without_changes(tmp_path: Path) -> None:
    commit = repository(project(tmp_path / "project"))
    assert checkout.code_state(tmp_path / "project") == (commit, False)
    assert checkout.problem(tmp_path / "project") == ""
    (tmp_path / "project/notes.txt").write_text("of no code")
    assert checkout.code_state(tmp_path / "project") == (commit, False)
    (tmp_path / "project/gfl/new.py").write_text("y = 1\n")
    assert checkout.code_state(tmp_path / "project") == (commit, True)


def test_a_worktree_a_submodule_and_a_link_are_the_projects_own(tmp_path: Path) -> None:
    commit = repository(project(tmp_path / "project"))
    git(tmp_path / "project", "worktree", "add", "-q", str(tmp_path / "tree"))
    assert checkout.code_state(tmp_path / "tree") == (commit, False)
    repository(tmp_path / "outer")
    git(tmp_path / "outer", "submodule", "add", "-q", str(tmp_path / "project"), "inner")
    assert checkout.code_state(tmp_path / "outer/inner") == (commit, False)
    (tmp_path / "link").symlink_to(tmp_path / "project")
    assert checkout.code_state(tmp_path / "link") == (commit, False)


@pytest.mark.parametrize("kind", ["ignored", "untracked", "tracked"])
def test_in_another_repository_the_code_has_no_commit(tmp_path: Path, kind: str) -> None:
    outer = tmp_path / "outer"
    if kind == "tracked":
        project(outer / "inner")
        repository(outer)
    else:
        repository(outer)
        project(outer / "inner")
    if kind == "ignored":
        (outer / ".gitignore").write_text("*")
    assert checkout.code_state(outer / "inner") == (None, True)
    assert checkout.problem(outer / "inner") == (
        f"{outer}/inner lies in the repository {outer}, whose commits are not this project's"
    )
    assert not checkout.has_commit(git(outer, "rev-parse", "HEAD"), outer / "inner")
    assert checkout.code_at("HEAD", outer / "inner") is None


def test_a_zip_has_no_commit_and_nothing_to_mend(tmp_path: Path) -> None:
    project(tmp_path / "unpacked")
    assert checkout.code_state(tmp_path / "unpacked") == (None, True)
    assert checkout.problem(tmp_path / "unpacked") == ""


def test_without_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository(project(tmp_path / "project"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert checkout.code_state(tmp_path / "project") == (None, True)
    assert checkout.problem(tmp_path / "project") == ""


def test_a_hooks_variables_do_not_lead_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = repository(project(tmp_path / "project"))
    other = repository(project(tmp_path / "other", "y = 2\n"))
    assert other != commit
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other/.git"))
    assert checkout.code_state(tmp_path / "project") == (commit, False)
    project(tmp_path / "unpacked")
    assert checkout.code_state(tmp_path / "unpacked") == (None, True)


def test_dubious_ownership_is_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = project(tmp_path / "project")
    repository(root)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    assert checkout.code_state(root) == (None, True)
    problem = checkout.problem(root)
    assert problem.startswith(f"git: detected dubious ownership in repository at '{root}'; ")
    assert problem.endswith(f"git config --global --add safe.directory {root}")
    assert "\n" not in problem


def test_the_code_of_a_commit_is_digested_as_it_was_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = project(tmp_path / "ein Projekt für alle")
    (root / "gfl/data").mkdir()
    (root / "gfl/data/größe.py").write_text("y = 'ü'\n", encoding="utf-8")
    (root / "gfl/pictures.md").write_text("no code")
    monkeypatch.setattr(digests, "ROOT", root)
    commit, then = repository(root), digests.code()
    assert then.keys() == {"gfl/losses.py", "gfl/data/größe.py"}
    (root / "gfl/losses.py").write_text("x = 2\n")
    assert checkout.code_at(commit, root) == then != digests.code()
    assert checkout.code_at("0" * 40, root) is None
    assert checkout.code_at("--all", root) is None


def test_a_partial_clone_away_from_its_origin_does_not_know_the_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = project(tmp_path / "origin")
    old = repository(origin)
    (origin / "gfl/losses.py").write_text("x = 2\n")
    git(origin, "commit", "-qam", "y")
    git(origin, "config", "uploadpack.allowFilter", "true")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "--filter=blob:none", f"file://{origin}", str(clone))
    origin.rename(tmp_path / "gone")
    monkeypatch.setattr(digests, "ROOT", clone)
    assert checkout.code_at(old, clone) is None
    assert checkout.code_at(git(clone, "rev-parse", "HEAD"), clone) == digests.code()


def test_a_record_of_another_repositorys_commit_may_not_be_the_reference() -> None:
    made = recorded.record(commit="c0ffee" + "0" * 34)
    assert objection(made) == "its commit c0ffee00 is not in this repository"


def test_what_is_edited_and_what_is_new_is_not_committed(tmp_path: Path) -> None:
    folder = project(tmp_path / "clone")
    repository(folder)
    assert checkout.uncommitted(folder) == frozenset()
    checkout.uncommitted.cache_clear()
    (folder / "gfl/losses.py").write_text("x = 2\n")
    (folder / "gfl/new").mkdir()
    (folder / "gfl/new/ö.py").write_text("")
    (folder / "README.md").write_text("")
    assert checkout.uncommitted(folder) == {"gfl/losses.py", "gfl/new/ö.py"}
    assert checkout.uncommitted(tmp_path) == frozenset()  # no repository
