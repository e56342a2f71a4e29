"""A stand-in for a frozen network of ``frozen``: its layers, with weights drawn at random."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import gfl.register  # noqa: F401  before mmdet

# isort: split
import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from gfl.data.features import frozen, stored


def drawn(name: str, seed: int = 0) -> nn.Module:
    """Build mmdet's network with weights and statistics drawn at random."""
    torch.manual_seed(seed)
    made: Any = MODELS.build(frozen.NETWORKS[name].backbone | {"_scope_": "mmdet"})
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    made.eval()  # mmdet's returns None
    return made


def content(name: str, network: nn.Module) -> dict[str, Any]:
    """Return what the file of the published weights holds, laid out as its authors do."""
    state, source = network.state_dict(), frozen.NETWORKS[name].source
    if isinstance(source, frozen.Package):
        return {f"features.{key}": value for key, value in state.items()}
    detector = {f"{source.prefix}{key}": value for key, value in state.items()}
    around = {"backbone.lateral_conv0.conv.weight": torch.ones(2), "head.stems.0": torch.ones(3)}
    return {"start_epoch": 300, "model": detector | around, "optimizer": {"state": {}}}


def digest(name: str, state: Mapping[str, Tensor]) -> str:
    """Return the digest that ``gfl.data.features.frozen`` would give for these weights."""
    return stored.tensors_digest(folded(name, state))


def folded(name: str, state: Mapping[str, Tensor]) -> list[Tensor]:
    """Return weights as the network takes them."""
    tensors, source = list(state.values()), frozen.NETWORKS[name].source
    return stored.folded(tensors, source.eps) if isinstance(source, frozen.Release) else tensors


@contextmanager
def published(name: str, network: nn.Module, folder: Path) -> Iterator[Path]:
    """Let a network's weights be those that are published under a name; gives their file."""
    path = folder / "weights.pth"
    torch.save(content(name, network), path)
    tensors = folded(name, network.state_dict())
    known = replace(
        frozen.NETWORKS[name],
        sha256=stored.tensors_digest(tensors),
        magnitude=stored.magnitude(tensors),
    )
    stored._network.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(frozen.NETWORKS, name, known)
        patch.setattr(frozen, "weights", lambda name, report=None: path)
        yield path
    stored._network.cache_clear()
