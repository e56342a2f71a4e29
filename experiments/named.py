"""Named experiments and groups of locations, each defined once.

Tables declare rows of them; claims, measured quantities and figures refer to them.
"""

from __future__ import annotations

from gfl.experiment import Experiment

PLAIN = Experiment()  # ATSS as published: a centerness-branch and Dirac deltas
NO_QUALITY = Experiment(quality="none")
IOU_BRANCH = Experiment(quality="iou-branch")
QFL = Experiment(quality="joint")
GENERAL = Experiment(boxes="general")
DFL = Experiment(boxes="general", dfl=True)
# Its weight is inferred, chosen by a sweep of its own (results/tuning/laptop-gaussian.md).
GAUSSIAN = Experiment(boxes="gaussian", likelihood_weight=1 / 4)
GFL = Experiment(quality="joint", boxes="general", dfl=True)

# The uses of quality that Table 1(a) compares with the joint representation.
COUNTERPARTS = ("none", "centerness-branch", "iou-branch", "centerness-guided", "iou-guided")
# Sets of a run's stored locations; each key is a column of locations.parquet.
SETS = {"positives": "all positives", "random": "the random sample of locations"}
FLAGS = {"positives": "positive", "random": "sampled"}
