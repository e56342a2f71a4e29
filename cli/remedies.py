"""Options that supply what an error of ``gfl`` reports missing: the core knows none of them."""

from __future__ import annotations

from gfl.errors import Lack, UserError

REMEDIES: dict[Lack, str] = {
    "cuda": "; PROFILE=laptop runs on a CPU, --device cpu tries this one anyway",
    "coco": ": DATA=/path/to/coco, or --data",
    "photographs": "\nthen: make ... PROFILE=photos DATA=DIR, or --data DIR",
    "folder and train file": "; give its folder, and the file with --train FILE",
    "train file": "; name the train file with --train FILE",
    "val file": "; name the val file with --val FILE",
    "train and val files": (
        "; name the train file with --train FILE and the val file with --val FILE"
    ),
    "file to divide": "; name the one to divide with --train FILE",
    "division": ", or divide one file with --split 0.2",
    "val images by division": "; --split 0.2 divides the train images",
    "division or both files": (
        "; divide it with --split 0.2, or name the train file with --train FILE and the val file "
        "with --val FILE"
    ),
    "no division": "; leave --split out",
    "no division or file to divide": (
        "; leave --split out, or name the file to divide with --train FILE"
    ),
    "train images": "; name the folder of the images with --train-images DIR",
    "val images": "; name the folder of the images with --val-images DIR",
    "fractions": "; --boxes xywh-fractions, xyxy-fractions or cxcywh-fractions reads fractions",
    "corners": "; --boxes xyxy reads boxes as corners, --boxes xywh as they are",
    "broken left out": "; --skip-broken leaves out what is broken",
}


def worded(err: Exception) -> str:
    """Return an error's message, with the options that resolve it."""
    lacks = err.lacks if isinstance(err, UserError) else ()
    return "".join([str(err), *(REMEDIES[lack] for lack in lacks)])
