"""Inference time with and without the joint representation and distributions, side by side."""

from __future__ import annotations

from collections.abc import Mapping

from analysis.claims.measuring import Quantity

QUANTITIES: Mapping[str, Quantity] = {}
