"""A disk that is full from a given write on, for one process and one folder."""

from __future__ import annotations

import builtins
import errno
import io
import os
from pathlib import Path
from typing import Any, Self
from unittest import mock

NO_SPACE = errno.ENOSPC, os.strerror(errno.ENOSPC)


class FullDisk:
    """While entered, refuses what takes space below a folder, after so many such operations.

    They are: a new file, a new folder, a write that reaches the system. Reading, renaming and
    deleting still work. ``was_full`` tells whether anything was refused.
    """

    def __init__(self, folder: Path, after: int) -> None:
        self.folder, self.left, self.was_full = str(folder), after, False
        self._patches = [
            mock.patch.object(os, "open", self._os_open(os.open)),
            mock.patch.object(os, "mkdir", self._mkdir(os.mkdir)),
            mock.patch.object(io, "open", self._open(io.open)),
            mock.patch.object(builtins, "open", self._open(io.open)),
        ]

    def __enter__(self) -> Self:
        for patch in self._patches:
            patch.start()
        return self

    def __exit__(self, *_: object) -> None:
        for patch in self._patches:
            patch.stop()

    def take(self, path: Any, *named: str) -> None:
        """Take space for one operation on a path.

        Raises:
            OSError: there is none left.
        """
        if not os.path.abspath(os.fsdecode(path)).startswith(self.folder):
            return
        if self.left == 0:
            self.was_full = True
            raise OSError(*NO_SPACE, *named)
        self.left -= 1

    def _os_open(self, real: Any) -> Any:
        def opened(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
            if flags & os.O_CREAT and not os.path.exists(path):
                self.take(path, os.fsdecode(path))
            return real(path, flags, *args, **kwargs)

        return opened

    def _mkdir(self, real: Any) -> Any:
        def made(path: Any, *args: Any, **kwargs: Any) -> None:
            if not os.path.exists(path):
                self.take(path, os.fsdecode(path))
            real(path, *args, **kwargs)

        return made

    def _open(self, real: Any) -> Any:
        disk = self

        class Raw(io.FileIO):
            def write(self, data: Any) -> int:
                disk.take(os.readlink(f"/proc/self/fd/{self.fileno()}"))  # no name, as the system
                return super().write(data)

        def opened(file: Any, mode: str = "r", buffering: int = -1, *args: Any, **kw: Any) -> Any:
            if not set(mode) & set("wax") or "+" in mode:
                return real(file, mode, buffering, *args, **kw)
            if not isinstance(file, int):
                file = os.fspath(file)
                if not os.path.exists(file):
                    self.take(file, os.fsdecode(file))
            raw = Raw(file, mode.replace("b", "").replace("t", ""))
            buffer = raw if buffering == 0 else io.BufferedWriter(raw)
            if "b" in mode:
                return buffer
            return io.TextIOWrapper(buffer, *args, line_buffering=buffering == 1, **kw)

        return opened
