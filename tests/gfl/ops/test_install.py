import importlib
import importlib.util
import sys
import types
from pathlib import Path

import mmcv
import pytest
from mmcv.ops import get_compiler_version, get_compiling_cuda_version
from mmcv.utils.ext_loader import load_ext
from mmengine.utils.dl_utils.misc import mmcv_full_available

from gfl import ops

stand_in = pytest.mark.skipif(
    "gfl" not in (getattr(sys.modules[ops.EXTENSION], "__file__", None) or ""),
    reason="mmcv has its compiled operators here",
)


@stand_in
def test_the_stand_in_is_found_as_a_compiled_extension_would_be():
    spec = importlib.util.find_spec("mmcv._ext")
    assert spec is not None
    assert spec.loader is not None  # pkgutil.find_loader, by which mmcv itself looks, returns this
    assert mmcv_full_available()
    assert importlib.import_module("mmcv._ext") is sys.modules["mmcv._ext"]
    assert get_compiler_version() == get_compiling_cuda_version()
    assert "gfl.ops" in get_compiler_version()


@stand_in
def test_a_missing_operator_is_there_until_called_and_then_names_itself_and_the_way_out():
    extension = load_ext("_ext", ["carafe_forward", "upfirdn2d"])
    with pytest.raises(NotImplementedError, match=r"'carafe_forward'.*MMCV_WITH_OPS=1 pip install"):
        extension.carafe_forward(1, 2, scale_factor=3)
    assert extension.upfirdn2d.__name__ == "upfirdn2d"


@stand_in
def test_what_python_asks_a_module_for_is_no_operator():
    assert not hasattr(sys.modules["mmcv._ext"], "__path__")
    assert not hasattr(sys.modules["mmcv._ext"], "__wrapped__")


def test_installing_again_changes_nothing():
    before = sys.modules["mmcv._ext"]
    ops.install()
    assert sys.modules["mmcv._ext"] is before


def test_a_compiled_extension_that_is_loaded_stays(monkeypatch: pytest.MonkeyPatch):
    compiled = types.ModuleType("mmcv._ext")
    monkeypatch.setitem(sys.modules, "mmcv._ext", compiled)
    ops.install()
    assert sys.modules["mmcv._ext"] is compiled


def test_a_compiled_extension_that_is_not_loaded_yet_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    (tmp_path / "_ext.py").write_text("compiled = True\n")
    monkeypatch.setattr(mmcv, "__path__", [str(tmp_path), *mmcv.__path__])
    # Through setitem, so that what was there comes back even if the import replaces it.
    monkeypatch.setitem(sys.modules, "mmcv._ext", types.ModuleType("mmcv._ext"))
    monkeypatch.setattr(mmcv, "_ext", None, raising=False)
    del sys.modules["mmcv._ext"]
    ops.install()
    assert "mmcv._ext" not in sys.modules
    assert importlib.import_module("mmcv._ext").compiled
