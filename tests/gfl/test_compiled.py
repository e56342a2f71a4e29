"""``torch.compile`` takes the losses and the assignments whole: no graph break, the same result."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "tests" / "gfl" / "helpers" / "compiled.py"


def test_losses_and_assignments_are_one_graph_with_eager_mode_s_result() -> None:
    """Values and gradients to the bit; the backend needs no compiler, and fuses nothing."""
    done = subprocess.run(
        [sys.executable, PROGRAM], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    same = json.loads(done.stdout)
    assert {"atss", "fcos", "focal_loss", "quality_focal_loss 2.0", "general dfl"} <= same.keys()
    assert [name for name, is_same in same.items() if not is_same] == []
