"""What the core says is missing: every such thing has an option, named by the command alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import gfl
from cli.main import COMMANDS, HELP, _options, build
from cli.remedies import REMEDIES, worded
from gfl.errors import Lack, UserError

NAMES = [name for group in COMMANDS.values() for name in group]
OPTIONS = {one for name in NAMES for one in _options(build(), [name]) if one not in HELP}


def test_everything_that_may_be_missing_has_a_remedy():
    assert REMEDIES.keys() == set(get_args(Lack))


def test_an_error_is_worded_with_its_remedy_and_others_are_as_they_are():
    assert worded(UserError("no device", lacks="cuda")).startswith("no device; PROFILE=laptop")
    assert worded(UserError("no device")) == "no device"
    assert worded(ValueError("other")) == "other"


def test_training_knows_no_option_and_no_make():
    """No room of the core names an option of the command, other programs' options apart."""
    core = Path(gfl.__file__).parent
    for path in sorted(core.rglob("*.py")):
        place = path.relative_to(core).as_posix()
        text = path.read_text(encoding="utf-8")
        options = [name for name in re.findall(r"--[a-z][a-z-]+", text) if name in OPTIONS]
        assert options + re.findall(r"\b(?:PROFILE|DATA|GPUS|JOBS)=", text) == [], place
