"""Stand-ins for mmcv's compiled operators, for an mmcv that was installed without a compiler.

`pip install onedl-mmcv` builds no native extension, and without one neither `mmcv.ops` nor
`mmdet.models` can be imported. `install()` supplies the missing module, with the operators that
torchvision and plain torch can implement, forward and backward, on any device they run on.
Imports nothing else of this project.
"""

import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

EXTENSION = "mmcv._ext"


class _StandIn:
    """Import finder of the stand-in, a file under mmcv's name.

    It provides the spec and loader by which mmengine (find_spec) and mmcv (find_loader) detect the
    operators. torch is imported only when the extension is.
    """

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != EXTENSION:
            return None
        return importlib.util.spec_from_file_location(name, Path(__file__).with_name("ext.py"))


def install() -> None:
    """Make `mmcv._ext` importable; mmcv's own compiled one, if present, takes precedence.

    Must run before `mmcv.ops` is imported.
    """
    if not any(isinstance(finder, _StandIn) for finder in sys.meta_path):
        sys.meta_path.append(_StandIn())
