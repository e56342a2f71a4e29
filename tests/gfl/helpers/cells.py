"""The heads of Tables 1 to 3: what every experiment on FCOS and ATSS asks of ours."""

from __future__ import annotations

from typing import Any

from experiments.profiles import SMOKE
from experiments.tables import catalogue
from gfl import config
from gfl.experiment import ABLATED_HOSTS, Experiment

FACTORS = ("quality", "boxes", "dfl", "n", "delta", "beta", "host", "likelihood_weight")


def declared() -> dict[str, dict[str, Any]]:
    """The factors of each head, by the experiment's name."""
    shown = [table for table in catalogue.TABLES.values() if table.name != "table-4"]
    experiments = {cell.experiment for table in shown for cell in table.cells()}
    found = {}
    for experiment in experiments:
        if isinstance(experiment, Experiment) and experiment.host in ABLATED_HOSTS:
            head = config.build(experiment, SMOKE, 0)["model"]["bbox_head"]
            found[experiment.slug] = {key: head[key] for key in FACTORS if key in head}
    return dict(sorted(found.items()))  # in one order, in every process that collects tests


CELLS = declared()
