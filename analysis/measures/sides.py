"""Sides of each object's best positive: learned against known distributions, a side per row."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.measures.best_positives import Best
from analysis.measures.densities import Atoms, two_peaks, wasserstein
from gfl.shapes.side_labels import SIDES


def sides(name: str, found: Best) -> pd.DataFrame:
    """Return a side per row: distance of learned and label distribution, peaks, width.

    ``point_px`` is the distance of the nearest point, the lower limit of a Dirac delta;
    ``binned_px`` that of DFL's minimum, on bins of the location's stride.
    """
    labels, learned = found.truth, found.learned
    stride = np.repeat(found.stride, 4)
    frame = pd.DataFrame(
        {
            "representation": name,
            "image_id": np.repeat(found.frame.image_id.to_numpy(), 4),
            "gt_id": np.repeat(found.frame.gt_id.to_numpy(), 4),
            "side": list(SIDES) * len(found.frame),
            "kind": found.kind.ravel(),
            "stride_px": stride,
            "gap_strides": (found.gap_px / found.stride[:, None]).ravel(),
            "wasserstein_px": wasserstein(learned, labels),
            "deviation_strides": learned.deviation / stride,
            "true_deviation_strides": labels.deviation / stride,
            "point_px": wasserstein(Atoms.points(labels.median), labels),
        }
    )
    if found.p is not None and found.n is not None and found.delta is not None:
        near = found.distances(labels)
        ideal = near.on_bins(found.n, found.delta)
        bins = np.broadcast_to(np.arange(found.n + 1) * found.delta, ideal.shape)
        frame["binned_px"] = wasserstein(Atoms(bins, ideal), near) * stride
        frame["deviation_on_bins_strides"] = Atoms(bins, ideal).deviation
        rows = found.p.reshape(-1, found.n + 1)
        frame["two_peaked"] = [two_peaks(p) > 0 for p in rows]
        frame["two_peaked_on_bins"] = [two_peaks(p) > 0 for p in ideal]
    return frame
