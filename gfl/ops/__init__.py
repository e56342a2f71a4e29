"""Stand-ins for mmcv's compiled operators, for an mmcv that was installed without a compiler.

`pip install onedl-mmcv` builds no native extension, and without one neither `mmcv.ops` nor
`mmdet.models` can be imported. `install()` supplies the module they look for, with the operators
that torchvision and plain torch can back, forward and backward, on any device they run on.
"""

import importlib.util
import sys
from pathlib import Path

EXTENSION = "mmcv._ext"


def install() -> None:
    """Make `mmcv._ext` importable; where mmcv has its compiled one, or this ran before, do nothing.

    Must run before `mmcv.ops` is imported.
    """
    if EXTENSION in sys.modules or importlib.util.find_spec(EXTENSION) is not None:
        return
    # Loaded from a file under mmcv's name, the stand-in has the spec and the loader by which
    # mmengine (find_spec) and mmcv (find_loader) tell whether operators are there.
    stand_in = Path(__file__).with_name("ext.py")
    spec = importlib.util.spec_from_file_location(EXTENSION, stand_in)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[EXTENSION] = module
