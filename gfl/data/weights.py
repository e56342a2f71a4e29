"""Third-party checkpoints, read without executing anything in the file.

mmdet's (2.x and 3.x) hold the training log and state beside the weights, as objects of numpy and
mmengine. None of these is constructed: inert objects replace them.
"""

from __future__ import annotations

import ast
import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gfl import escape
from gfl.errors import UserError
from gfl.files import sha256

# Keys of the weights; the first one found is used. mmengine's own ``state_dict`` is the average
# if the training averaged; ``ema_state_dict`` is then the other.
WRAPPERS = ("state_dict", "model", "ema_state_dict")
LONGEST_CONFIG = 1_000_000  # characters
LONGEST_NAME = 60  # columns of a terminal


class _Inert:
    """Placeholder for an object that is not constructed."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


# Objects that mmengine's and mmcv's hooks store beside the weights; none is constructed.
_INERT = [
    (_Inert, name)
    for name in (
        "builtins.getattr",  # the log's statistics, as HistoryBuffer's methods
        "mmengine.logging.history_buffer.HistoryBuffer",
        "numpy.dtype",
        "numpy.ndarray",
        *(
            f"numpy.{core}.multiarray.{made}"
            for core in ("core", "_core")
            for made in ("_reconstruct", "scalar")
        ),
    )
]


@dataclass(frozen=True)
class Checkpoint:
    """Weights of a file, under its own names, and its metadata."""

    path: Path
    sha256: str
    state: Mapping[str, Tensor]
    classes: tuple[str, ...] | None  # class names in label order, if it has any
    config: str | None  # mmdet's configuration as Python source, if it has one


def read(path: Path) -> Checkpoint:
    """Read a checkpoint: mmdet's, this project's ``final.pth``, or a bare state dict.

    Raises:
        UserError: it is missing, damaged, or holds more than weights and a training log.
    """
    if not path.is_file():
        what = "a folder, not a file of weights" if path.is_dir() else "no such file"
        raise UserError(f"{path}: {what}")
    try:
        checksum = sha256(path)
    except OSError as err:
        raise UserError(f"{path}: cannot be read ({err.strerror or err})") from err
    try:
        # torch warns of files that it then rejects.
        with warnings.catch_warnings(), torch.serialization.safe_globals(_INERT):  # type: ignore[arg-type]
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as err:  # whatever torch raises for a file that is no checkpoint
        raise UserError(f"{path}: {_refused(err, path)}") from err
    state = _state(content)
    if not state:
        raise UserError(f"{path}: holds no weights")
    meta = content.get("meta") if "meta" in content else None
    meta = meta if isinstance(meta, Mapping) else {}
    return Checkpoint(path, checksum, state, _classes(meta), _config(meta))


def _refused(err: Exception, path: Path) -> str:
    """Summarise why torch rejected a file: its own message is a page long, or says nothing."""
    found = re.search(r"\bGLOBAL ([\w.]+) (?:was|whose)\b", str(err))
    if found is None or not isinstance(err, pickle.UnpicklingError):
        return f"not a PyTorch checkpoint, or damaged ({_kind(path)})"
    return (
        f"refused, because it holds {found[1]} beside weights, which could run code; nothing of it "
        "was run"
    )


def _kind(path: Path) -> str:
    """Identify, by its first bytes, a file that torch does not read."""
    with path.open("rb") as file:
        start = file.read(4)
    if not start:
        return "empty, 0 bytes"
    if start == b"PK\x03\x04":
        return "a ZIP archive that is cut short, or of something else"
    if start[0] == 0x80:
        return "a pickle, which could run code; nothing of it was run"
    return "it does not begin as one"


def _state(content: Any) -> dict[str, Tensor]:
    """Return the weights under the detector's own names."""
    if not isinstance(content, Mapping):
        return {}
    wrapped = (content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping))
    state = {
        name: value
        for name, value in next(wrapped, content).items()
        if isinstance(name, str) and isinstance(value, Tensor)
    }
    state.pop("steps", None)  # of an average: the number of averaged steps
    while state and all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    # mmdet 2.x averaged within the model, and swapped: ema_* are the weights without averaging.
    unused = ("ema_", "data_preprocessor.")
    return {name: value for name, value in state.items() if not name.startswith(unused)}


def _classes(meta: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the class names: 3.x's ``dataset_meta``, 2.x's ``CLASSES``."""
    dataset = meta.get("dataset_meta")
    dataset = dataset if isinstance(dataset, Mapping) else {}
    for names in (dataset.get("classes"), dataset.get("CLASSES"), meta.get("CLASSES")):
        if isinstance(names, (list, tuple)) and names and all(isinstance(n, str) for n in names):
            return tuple(escape.shortened(name, LONGEST_NAME) for name in names)
    return None


def _config(meta: Mapping[str, Any]) -> str | None:
    for text in (meta.get("cfg"), meta.get("config")):
        if isinstance(text, str) and len(text) <= LONGEST_CONFIG:
            return text
    return None


def normalisation(text: str) -> dict[str, Any] | None:
    """Return the ``mean``, ``std`` and ``rgb`` of an mmdet configuration's image normalisation.

    The text is parsed, not executed: 3.x's ``data_preprocessor``, 2.x's ``img_norm_cfg``. None if
    the values are not literals.
    """
    try:
        tree = ast.parse(text.lstrip("\ufeff"))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    for name, colour in (("data_preprocessor", "bgr_to_rgb"), ("img_norm_cfg", "to_rgb")):
        for values in _named(tree, name):
            if {"mean", "std", colour} <= values.keys():
                return {"mean": values["mean"], "std": values["std"], "rgb": values[colour]}
    return None


def _named(tree: ast.AST, name: str) -> list[dict[str, Any]]:
    """Return the plain values of every ``dict(...)`` or ``{...}`` assigned to this name."""
    found = []
    for node in ast.walk(tree):
        pairs: list[tuple[Any, ast.AST]] = []
        if isinstance(node, ast.Assign):
            pairs = [(t.id, node.value) for t in node.targets if isinstance(t, ast.Name)]
        elif isinstance(node, ast.Call):
            pairs = [(keyword.arg, keyword.value) for keyword in node.keywords]
        elif isinstance(node, ast.Dict):
            pairs = [(_plain(k), v) for k, v in zip(node.keys, node.values, strict=True)]
        found += [_values(value) for key, value in pairs if key == name]
    return found


def _values(node: ast.AST) -> dict[str, Any]:
    if isinstance(node, ast.Call):
        return {k.arg: _plain(k.value) for k in node.keywords if k.arg is not None}
    value = _plain(node)
    return value if isinstance(value, dict) else {}


def _plain(node: ast.AST | None) -> Any:
    try:
        value = None if node is None else ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None
    return list(value) if isinstance(value, tuple) else value
