"""Execute notebooks from their first cell to their last in a fresh kernel, and keep the outputs.

``make notebooks`` runs this in the project's environment. What is written depends on nothing but
the cells and the records: no times, no widget's state, no path of this machine.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from gfl.records import account  # noqa: E402

NOTEBOOKS = ROOT / "notebooks"
WIDGET = "application/vnd.jupyter.widget-view+json"
ADDRESS = re.compile(r" at 0x[0-9a-f]+")  # of an object in memory
PYTHON = {"display_name": "Python 3", "language": "python", "name": "python3"}


def execute(path: Path, timeout: int) -> nbformat.NotebookNode:
    """Return the notebook with the outputs of a fresh kernel of this Python.

    Raises CellExecutionError at the first cell that fails, with its traceback.
    """
    notebook = nbformat.read(path, as_version=4)
    # Without folders to search, "python3" is this interpreter, whatever kernels are installed.
    specs = KernelSpecManager(kernel_dirs=[])
    manager = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=specs)
    client = NotebookClient(
        notebook, km=manager, timeout=timeout, record_timing=False, store_widget_state=False,
        extra_arguments=["--log-level=ERROR"], resources={"metadata": {"path": str(path.parent)}},
    )  # fmt: skip
    # As in `make lab`: gfl is importable from notebooks/ in any environment.
    client.execute(env={**os.environ, "PYTHONPATH": str(ROOT)}, cleanup_kc=True)
    return cleaned(notebook)


def cleaned(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return the notebook without anything that varies between executions, or needs a kernel."""
    notebook.metadata = {"kernelspec": PYTHON, "language_info": {"name": "python"}}
    for i, cell in enumerate(notebook.cells):
        cell.id = f"cell-{i}"
        cell.metadata = {}
        for output in cell.get("outputs", ()):
            data: dict[str, Any] = output.get("data", {})
            if WIDGET in data and "image/png" in data:  # a picture can replace it
                del data[WIDGET]
            if "text/plain" in data:
                data["text/plain"] = ADDRESS.sub("", data["text/plain"])
    return notebook


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all of notebooks/")
    parser.add_argument("--out", type=Path, help="where to write them; default: in place")
    parser.add_argument("--timeout", type=int, default=600, help="seconds a cell may take")
    args = parser.parse_args()
    account.complete()
    for path in args.notebooks or sorted(NOTEBOOKS.glob("*.ipynb")):
        print(path.name, flush=True)
        try:
            done = execute(path, args.timeout)
        except CellExecutionError as error:
            print(f"{path.name}: a cell failed, nothing was written\n{error}", file=sys.stderr)
            return 1
        nbformat.write(done, (args.out or path.parent) / path.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
