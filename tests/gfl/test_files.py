import os
from pathlib import Path

import pytest

from gfl.files import writable_or_cached, write_text


def test_text_is_written_as_it_is_and_readable_by_others(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.csv"
    assert write_text(path, "x,—\r\n1\n") == path
    assert path.read_bytes() == "x,—\r\n1\n".encode()
    assert path.stat().st_mode & 0o777 == 0o644
    assert [p.name for p in path.parent.iterdir()] == ["b.csv"]


def test_the_old_file_stays_if_the_new_one_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_text(tmp_path / "a", "old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as failed:
        write_text(path, "new")
    assert failed.value.filename == str(path)  # the system's error names none
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_data_of_a_checkout_that_is_read_only_lie_in_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data/shapes-0"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert writable_or_cached(path) == path
    monkeypatch.setattr(os, "access", lambda place, how: False)
    assert writable_or_cached(path) == tmp_path / "cache/gfl-reproduction/shapes-0"
    path.mkdir(parents=True)  # by who may
    assert writable_or_cached(path) == path
