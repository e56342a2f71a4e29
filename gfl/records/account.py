"""User account of the process, completed where the system does not know it.

A container started with ``--user 12345`` has a user without a name and often without a writable
home. Libraries need both: torch's compiler at import, matplotlib for its fonts, numba for imgaug's
compiled code, Jupyter for its connections.
"""

from __future__ import annotations

import getpass
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

# Folders that libraries keep in a home, by the variable that relocates them.
FOLDERS = {
    "MPLCONFIGDIR": "matplotlib",
    "NUMBA_CACHE_DIR": "numba",
    "IPYTHONDIR": "ipython",
    "JUPYTER_CONFIG_DIR": "jupyter/config",
    "JUPYTER_DATA_DIR": "jupyter/data",
    "JUPYTER_RUNTIME_DIR": "jupyter/runtime",
}


def complete() -> None:
    """Give this process and its children a name, a home and writable folders, if missing.

    Variables already set stay. Call it before torch or matplotlib are imported.
    """
    try:
        getpass.getuser()
    except (KeyError, OSError):  # OSError from Python 3.13 on
        os.environ["LOGNAME"] = f"uid-{os.getuid()}"
    with suppress(OSError):  # for a system where nothing is writable
        try:
            home = Path.home()
        except RuntimeError:
            home = _own_folder()
            os.environ["HOME"] = str(home)
        if not (home.is_dir() and os.access(home, os.W_OK)):
            for variable, name in FOLDERS.items():
                if variable not in os.environ:
                    os.environ[variable] = str(_own_folder() / name)
                    Path(os.environ[variable]).mkdir(mode=0o700, parents=True, exist_ok=True)


def _own_folder() -> Path:
    """Return a temporary folder, the same for all processes of the user and private to them."""
    folder = Path(tempfile.gettempdir()) / f"gfl-{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    is_ours = found.st_uid == os.getuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if stat.S_ISDIR(found.st_mode) and is_ours:
        return folder
    return Path(tempfile.mkdtemp(prefix=f"{folder.name}-"))
