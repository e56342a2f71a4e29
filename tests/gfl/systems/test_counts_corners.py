"""Parameters of the corner systems at full size, held to counts of the released networks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from corner_models import build, published
from mmdet_models import parameters

CENTERNET = {"hg52": (104_844_152, 93_662_848, 630), "hg104": (210_062_960, 187_700_352, 1260)}


def on_meta(method: str, backbone: str) -> Any:
    with torch.device("meta"):
        return build(published(method, backbone)["model"])


@pytest.mark.parametrize("backbone", CENTERNET)
def test_centernet_has_the_parameters_and_entries_of_the_released_networks(backbone):
    """Counted in the released models, built with stand-ins for their compiled pooling."""
    total, below, entries = CENTERNET[backbone]
    model = on_meta("centernet", backbone)
    assert parameters(model) == total
    assert parameters(model.backbone) == below
    stacks = {"hg52": 1, "hg104": 2}[backbone]
    assert parameters(model.bbox_head) == stacks * 11_181_304
    assert len(model.state_dict()) == entries


def test_centernets_parts_have_the_parameters_of_the_released_parts():
    branches = on_meta("centernet", "hg52").bbox_head
    assert parameters(branches.ct[0].pool) == 1_542_144
    assert parameters(branches.tl[0].pool) == parameters(branches.br[0].pool) == 2_427_392


@pytest.mark.parametrize(
    ("method", "total"), [("cornernet", 201_035_212), ("centripetalnet", 205_758_056)]
)
def test_the_other_corner_systems_are_mmdets_to_the_parameter(method, total):
    assert parameters(on_meta(method, "hg104")) == total
