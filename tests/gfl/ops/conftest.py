"""The operators are written for any device: a machine with a GPU tests them there too."""

import pytest
import torch

import gfl.register  # noqa: F401  (before mmcv.ops: it supplies what that imports)


@pytest.fixture(params=["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"])
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.param)
