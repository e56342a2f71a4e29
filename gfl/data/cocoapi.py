"""Patch of mmdet's COCO reader: reads the normal form and loses no class.

``gfl.data.annotations`` defines the normal form, so training reads the repairs that a check made.
pycocotools opens annotations in the locale's encoding, and silently drops requested classes that
it does not find: every label after them is then another class's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmdet.datasets.api_wrappers import COCO

from gfl.data.annotations import in_normal_form
from gfl.data.json_values import read_json, some
from gfl.errors import UserError


def install() -> None:
    """Patch every data set and metric of mmdet to read COCO this way; idempotent."""
    COCO.__init__ = _read
    COCO.get_cat_ids = _category_ids


def _read(self: Any, annotation_file: str | Path | None = None) -> None:
    super(COCO, self).__init__()
    if annotation_file is not None:
        self.dataset = _dataset(Path(annotation_file))
        self.createIndex()
    self.img_ann_map = self.imgToAnns
    self.cat_img_map = self.catToImgs


def _dataset(path: Path) -> Any:
    dataset = read_json(path)
    # An image list without annotations, such as test-dev's, stays unchanged.
    is_list = isinstance(dataset, dict) and "annotations" not in dataset
    return dataset if is_list else in_normal_form(dataset, path)


def _category_ids(
    self: Any,
    cat_names: Sequence[str] = (),
    sup_names: Sequence[str] = (),
    cat_ids: Sequence[int] = (),
) -> list[int]:
    """Return category ids, every name of ``cat_names`` in order if given.

    A label is a position in these names, whatever the file's order and ids.

    Raises:
        UserError: the annotations lack one of the names.
    """
    found = self.getCatIds(cat_names, sup_names, cat_ids)
    if not len(cat_names):
        return found
    ids = {self.cats[id]["name"]: id for id in found}
    if missing := [name for name in cat_names if name not in ids]:
        raise UserError(
            f"the annotations lack {len(missing)} of the {len(cat_names)} classes that labels are "
            f"numbered by: {some(missing)}"
        )
    return [ids[name] for name in cat_names]
