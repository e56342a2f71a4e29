"""A system of Table 4 as data: mmdet's bundled configuration and every declared difference."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any, Final

Config = dict[str, Any]


class _BaseVariables(ast.NodeTransformer):
    """Reads mmengine's ``{{_base_.name}}``, to Python a set of a set, as the name's value."""

    def visit_Set(self, node: ast.Set) -> ast.AST:
        """Unpack a set whose only element is a set of one."""
        match node:
            case ast.Set(elts=[ast.Set(elts=[name])]):
                return name
        return node


class _Removed:
    """Value of a difference that deletes its key."""

    def __repr__(self) -> str:
        return "removed"


REMOVED: Final = _Removed()


@dataclass(frozen=True)
class Difference:
    """One value in which a system differs from the configuration bundled with mmdet.

    ``path`` leads through keys and indices of lists, "model.roi_head.bbox_head.0.num_classes"; its
    last key may be new. ``source`` says where the value is from, beginning with "inferred:" or
    "recalled:" if no source states it.
    """

    path: str
    value: Any
    source: str


@dataclass(frozen=True)
class Published:
    """One row at full size: a file among mmdet's bundled configurations, and the differences."""

    bundled: str  # below mmdet/.mim/configs
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True)
class Small:
    """Network of a small profile, from which a method's small version is made."""

    backbone: Config  # of the row's family: depth, cardinality, deformable convolutions
    neck: Config  # FPN with ``channels`` on all levels
    channels: int  # of the FPN and the head
    stacked_convs: int
    strides: tuple[int, ...]  # of the levels, px
    classes: int
    size: int  # long side of the images, px
    backbone_channels: tuple[int, ...]  # of all outputs of the backbone


@dataclass(frozen=True)
class Method:
    """A detection method of Table 4: its rows at full size, and one small version for all.

    ``small`` returns values by path below ``model``, such as ``"bbox_head.feat_channels"``; applied
    to the model of a row after the differences. Backbone, neck and preprocessor are replaced
    before. A path to a deleted key has the value ``REMOVED``.
    """

    title: str  # as Table 4 prints it
    rows: Mapping[str, Published]  # by backbone, "r101-dcn"
    small: Callable[[Small], Mapping[str, Any]]
    rate: float | None = None  # learning rate at the laptop profile; None: the profile's own
    # What no difference can say of the system, by backbone; "" holds for all. Which of a paper's
    # systems a row stands for is Table 4's to say (``experiments.tables.table4.NOTES``).
    notes: Mapping[str, str] = field(default_factory=dict)


def bundled(file: str) -> Config:
    """Return one of mmdet's bundled configurations, resolved; the caller's to change."""
    package = find_spec("mmdet")
    assert package is not None
    assert package.origin is not None
    return copy.deepcopy(_read(Path(package.origin).parent / ".mim" / "configs" / file))


@cache
def _read(path: Path) -> Config:
    """Return what mmengine's ``Config.fromfile`` makes of one of mmdet's own files.

    Without its copies in temporary folders, which take seconds for all of Table 4, and without
    what no bundled file here uses: other formats than Python, environment variables.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    config: Config = {}
    for statement in [*tree.body]:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "_base_":
            bases = ast.literal_eval(statement.value)
            for base in [bases] if isinstance(bases, str) else bases:
                config |= _read((path.parent / base).resolve())
            tree.body.remove(statement)
    tree = ast.fix_missing_locations(_BaseVariables().visit(tree))
    names: Config = {"_base_": SimpleNamespace(**copy.deepcopy(config))}
    exec(compile(tree, path, "exec"), names)  # part of the installed package
    own = {
        name: value
        for name, value in names.items()
        if not name.startswith("_") and not isinstance(value, ModuleType | FunctionType)
    }
    return _merged(config, own)


def _merged(base: Config, own: Config) -> Config:
    """Return a file's settings over those of its bases, key by key."""
    merged = dict(base)
    for key, value in own.items():
        if not isinstance(value, dict):
            merged[key] = value
            continue
        replaces = value.get("_delete_", False)
        below = {} if replaces else merged.get(key)
        kept = {k: v for k, v in value.items() if k != "_delete_"}
        merged[key] = _merged(below if isinstance(below, dict) else {}, kept)
    return merged


def changed(config: Config, differences: Iterable[Difference]) -> Config:
    """Return a configuration with differences applied in their order.

    Raises:
        KeyError: a path leads through a key that does not exist, or a removed key does not exist.
    """
    config = copy.deepcopy(config)
    for difference in differences:
        assign(config, difference.path, difference.value)
    return config


def assign(config: Config, path: str, value: Any) -> None:
    """Set or remove one value of a nested configuration, in place.

    Raises:
        KeyError: the path leads through a key that does not exist, or a removed key does not exist.
    """
    *way, last = path.split(".")
    inner: Any = config
    for i, key in enumerate(way):
        try:
            inner = inner[_key(inner, key)]
        except (KeyError, IndexError, TypeError, ValueError) as err:
            raise KeyError(f"{path}: nothing at {'.'.join(way[: i + 1])}") from err
    if value is REMOVED:
        if last not in inner:
            raise KeyError(f"{path}: nothing to remove")
        del inner[last]
        return
    inner[_key(inner, last)] = copy.deepcopy(value)


def _key(inner: Any, key: str) -> Any:
    return int(key) if isinstance(inner, (list, tuple)) else key
