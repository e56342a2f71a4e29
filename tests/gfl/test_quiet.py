"""What a user sees and needs when importing the package: nothing on the terminal, and torch."""

import subprocess
import sys
import warnings

import pytest

from gfl import register

# Raises on what a user of the pure parts need not have.
BLOCK = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"mmdet", "mmcv", "mmengine", "torchvision"}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
"""


def assert_silent(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", code], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_importing_gfl_is_silent_and_does_not_even_import_torch():
    assert_silent("import sys, gfl\nassert 'torch' not in sys.modules")


def test_mmdet_is_silent_after_registration_and_the_user_s_warning_filters_are_back():
    assert_silent(
        "import warnings\n"
        "before = list(warnings.filters)\n"
        "import gfl.register\n"
        "assert warnings.filters[-len(before):] == before\n"
        "assert not any(f[1] and 'torch' in f[1].pattern for f in warnings.filters)\n"
        "import mmcv.ops, mmengine.runner, mmdet.apis, mmdet.datasets, mmdet.evaluation\n"
        "import mmdet.models, mmdet.visualization\n"
        "from mmdet.utils import register_all_modules\n"
        "register_all_modules()\n"
    )


def test_a_warning_that_is_not_listed_is_heard():
    with register._without_warnings(), pytest.warns(UserWarning, match="heard"):
        warnings.warn("heard", stacklevel=1)


def test_a_line_that_is_not_listed_is_printed(capsys: pytest.CaptureFixture[str]):
    with register._without_lines():
        print("Could not import OneDL. Skipping OneDL datasets.")
        print("Could not import OneDL, and this is news.")
    assert capsys.readouterr().out == "Could not import OneDL, and this is news.\n"


def test_the_pure_parts_need_torch_alone():
    assert_silent(
        BLOCK + "import gfl.losses, gfl.geometry, gfl.boxes, gfl.quality, gfl.assign, gfl.config"
    )
