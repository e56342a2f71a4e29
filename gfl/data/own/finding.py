"""Finding of a data set's files: annotations under the names that tools give them, and images.

Names are compared case-insensitively. Ambiguous matches are rejected, never chosen among.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

from gfl.data.annotations import shape_problem
from gfl.data.json_values import read_json, some
from gfl.errors import Lack, UserError

# Paths, below the folder, where COCO and tools that write its format keep a split's boxes.
ANNOTATIONS = (
    "annotations/instances_{}2017.json",
    "annotations/instances_{}.json",
    "annotations/{}.json",
    "{}.json",
    "{}/_annotations.coco.json",
    "{}/labels.json",
    "{}/annotations.json",
    "{}/coco.json",
    "annotations/{}_annotations.json",
    "{}_annotations.json",
    "{}_annotations.coco.json",
    "{}_coco.json",
    "instances_{}.json",
    "instances_{}2017.json",
)
IMAGES = (
    "{}2017", "{}", "images/{}2017", "images/{}", "{}/images", "{}/data", "images", "data", ".",
)  # fmt: skip
SPELLINGS = {"train": ("train", "training"), "val": ("val", "valid", "validation")}
# Files of a whole data set, to be divided.
WHOLE = (
    "annotations/instances_default.json",
    "_annotations.coco.json",
    "train/_annotations.coco.json",
    "labels.json",
    "result.json",
    "annotations.json",
    "annotations/annotations.json",
)
DEEPEST = 2  # levels of folders below the root that are searched for annotation files
PICTURES = (
    ".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".avif", ".jp2",
    ".ppm", ".pgm",
)  # fmt: skip
MOST_READ = 20  # JSON files per folder that are read to find COCO's
DRIVE = re.compile(r"^[A-Za-z]:(?=/)")


class MissingError(UserError):
    """Split without an annotation file under any known name."""

    def __init__(self, root: Path, name: str, wanted: str, there: Sequence[Path]) -> None:
        self.start = f"{root} has neither {wanted} nor a file of another known name"
        listed = some([os.path.relpath(path, root) for path in there])
        self.has = f" (it has {listed})" if listed else ""
        self.alone: tuple[Lack, ...] = ("division",) if len(there) == 1 else ()
        lack: Lack = "train file" if name == "train" else "val file"
        super().__init__(f"{self.start} for {name}{self.has}", (lack, *self.alone))

    def with_val(self) -> UserError:
        """Return the error for when val's file is missing too."""
        lacks: tuple[Lack, ...] = ("train and val files", *self.alone)
        return UserError(f"{self.start} for train or val{self.has}", lacks)


def annotation_file(root: Path, name: str) -> tuple[Path, list[Path]]:
    """Return a split's annotation file, and other candidates.

    Raises:
        UserError: there is none, or several that differ only in case.
    """
    there = _below(root)
    candidates = [pattern.format(word) for word in SPELLINGS[name] for pattern in ANNOTATIONS]
    found: dict[Path, None] = {}
    for path in candidates:
        fits = there.get(path.casefold(), [])
        if root / path in fits:
            fits = [root / path]
        if len(fits) > 1:
            listed = some([os.path.relpath(fit, root) for fit in fits])
            lack: Lack = "train file" if name == "train" else "val file"
            raise UserError(f"{root} has {listed}", lack)
        found.update(dict.fromkeys(fits))
    every = [path for paths in there.values() for path in paths]
    if not found:
        inside = [folder for word in SPELLINGS[name] for folder in in_any_case(root, word)]
        alone = _coco_alone([path for path in every if path.parent in inside])
        found = {alone: None} if alone else {}
    if not found:
        raise MissingError(root, name, candidates[0], every)
    first, *others = found
    return first, others


def _coco_alone(paths: Sequence[Path]) -> Path | None:
    """Return the only one of several files that is COCO's, whatever its name."""
    if len(paths) > MOST_READ:
        return None
    found = []
    for path in paths:
        with suppress(UserError):
            if not shape_problem(read_json(path)):
                found.append(path)
    return found[0] if len(found) == 1 else None


def whole_file(root: Path) -> Path:
    """Return a folder's one annotation file to divide: of a known name, or COCO's.

    Raises:
        UserError: there is none, or several, or one of validation beside it.
    """
    there = _below(root)
    every = [path for paths in there.values() for path in paths]
    found = list(dict.fromkeys(fit for path in WHOLE for fit in there.get(path.casefold(), ())))
    candidates = [pattern.format(word) for word in SPELLINGS["val"] for pattern in ANNOTATIONS]
    if val := [fit for path in candidates for fit in there.get(path.casefold(), ())]:
        listed = some([os.path.relpath(path, root) for path in val])
        raise UserError(f"{root} has {listed} for val", "no division or file to divide")
    if not found:
        alone = every[0] if len(every) == 1 else _coco_alone(every)
        found = [alone] if alone else every
    if len(found) != 1:
        names = some([os.path.relpath(path, root) for path in found])
        what = f"{len(found)} JSON files ({names})" if found else "no JSON file"
        raise UserError(f"{root} has {what}", "file to divide")
    return found[0]


def _below(root: Path) -> dict[str, list[Path]]:
    """Return the JSON files of a folder and its subfolders, by lower-case name."""
    found: dict[str, list[Path]] = {}
    for folder, inner, files in os.walk(root, followlinks=True):
        depth = len(Path(folder).relative_to(root).parts)
        inner[:] = sorted(d for d in inner if not d.startswith(".")) if depth < DEEPEST else []
        for file in sorted(files):
            if file.lower().endswith(".json") and not file.startswith("."):
                path = Path(folder, file)
                found.setdefault(path.relative_to(root).as_posix().casefold(), []).append(path)
    return found


def image_folder(root: Path, path: Path, name: str, names: Sequence[str]) -> Path:
    """Return the folder below which most of a split's images lie, matched by name or nearly so.

    Raises:
        UserError: none of them is found anywhere.
    """
    candidates = [*_image_folders(root, name), path.parent]
    folders = [folder for folder in dict.fromkeys(candidates) if folder.is_dir()]
    sample = names[:: max(1, len(names) // 100)]
    direct = [sum(os.path.isfile(folder / one) for one in sample) for folder in folders]
    if folders and max(direct):
        return Path(os.path.normpath(folders[direct.index(max(direct))]))
    for folder in folders:
        images = Images(folder)
        if any(images.find(one) for one in sample):
            return Path(os.path.normpath(folder))
    there = [folder for folder in folders if folder not in (root, path.parent)]
    where = f"not in {there[0]}/" if there else f"in no folder of {root}"
    lack: Lack = "train images" if name == "train" else "val images"
    raise UserError(f"{path} names the image {some(names[:1])}, which is {where}", lack)


def _image_folders(root: Path, name: str) -> Iterator[Path]:
    for pattern in IMAGES:
        for word in SPELLINGS[name]:
            yield from in_any_case(root, pattern.format(word))


def in_any_case(root: Path, path: str) -> list[Path]:
    """Return the matches of a path below a folder, exact first, then in other cases."""
    found = [root]
    for part in PurePosixPath(path).parts:
        inside = [(folder, inner) for folder in found for inner in _listed(folder)]
        fits = [folder / inner for folder, inner in inside if inner.casefold() == part.casefold()]
        found = sorted(fits, key=lambda fit: (fit.name != part, fit.name))
    return found


def _listed(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


@dataclass(frozen=True)
class Images:
    """Index of the image files below a folder, for names written by other programs."""

    folder: Path
    ambiguous: dict[str, list[str]] = field(default_factory=dict, compare=False)

    def find(self, name: str) -> str | None:
        """Return a file's path below the folder; None if nothing fits, or several do.

        Tries the name as it stands; then with other separators, percent codes or composed letters;
        then its last components, if exactly one file fits best.
        """
        return self.find_all([name])[0]

    def find_all(self, names: Sequence[str | None]) -> list[str | None]:
        """Return the file of each name of one list.

        A file matched exactly by one name in the list is not given to another. If the folders in
        any of the names agree with those on disk, a name in other folders means another file.
        """
        exact = [name if name and self._has(name) else None for name in names]
        taken = {os.path.normpath(name) for name in exact if name}
        hits = [
            (at, 2) if at else self._hit(name) if name else (None, 0)
            for name, at in zip(names, exact, strict=True)
        ]
        in_folders = any(
            at and shared > 1 and _has_folders(name)
            for name, (at, shared) in zip(names, hits, strict=True)
        )
        found: list[str | None] = []
        for name, at, (hit, shared) in zip(names, exact, hits, strict=True):
            elsewhere = in_folders and shared < 2 and _has_folders(name)
            is_others = at is None and hit is not None and os.path.normpath(hit) in taken
            found.append(None if elsewhere or is_others else hit)
            if elsewhere and name:
                self.ambiguous.pop(name, None)
        return found

    def _hit(self, name: str) -> tuple[str | None, int]:
        """Return the best match of a name, and the number of trailing components that agree."""
        for form in _forms(name):
            if self._has(form):
                return form, 2
        parts = [part for form in _forms(name) if (part := _parts(form))]
        best: dict[int, set[str]] = {}
        for files in (self._files, self._stems):
            for words in parts:
                for path, theirs in files.get(words[-1], ()):
                    shared = 1 + _shared(words[:-1], [*self._above, *theirs[:-1]])
                    best.setdefault(shared, set()).add(path)
            if best:
                break
        else:
            return None, 0
        found = sorted(best[max(best)])
        if len(found) > 1:
            self.ambiguous[name] = found
        return (found[0] if len(found) == 1 else None), max(best)

    def _has(self, name: str) -> bool:
        # Unlike a Path's method, False for a name that is too long.
        return os.path.isfile(self.folder / name) and not os.path.isabs(name)

    @cached_property
    def _above(self) -> list[str]:
        """Return the components of the folder's own path, which names may include."""
        return _parts(os.path.abspath(self.folder))

    @cached_property
    def _files(self) -> dict[str, list[tuple[str, list[str]]]]:
        """Return each file with its path's components, by file name."""
        found: dict[str, list[tuple[str, list[str]]]] = {}
        for folder, inner, files in os.walk(self.folder, followlinks=True):
            inner[:] = sorted(d for d in inner if not d.startswith("."))
            if folder.count(os.sep) - str(self.folder).count(os.sep) > 8:  # a circular link
                inner[:] = []
            for file in files:
                if file.lower().endswith(PICTURES):
                    path = os.path.relpath(os.path.join(folder, file), self.folder)
                    parts = _parts(path)
                    found.setdefault(parts[-1], []).append((path, parts))
        return found

    @cached_property
    def _stems(self) -> dict[str, list[tuple[str, list[str]]]]:
        """Return each file by its name without the suffix, for names that have none."""
        found: dict[str, list[tuple[str, list[str]]]] = {}
        for name, files in self._files.items():
            found.setdefault(os.path.splitext(name)[0], []).extend(files)
        return found


def _has_folders(name: str | None) -> bool:
    return name is not None and any(len(_parts(form)) > 1 for form in _forms(name))


def _forms(name: str) -> Iterable[str]:
    """Generate the readings of a name: other separators, a URL, percent codes, NFC and NFD."""
    forms = {name: None, name.replace("\\", "/"): None}
    for form in list(forms):
        if "://" in form or "?" in form:
            parsed = urlsplit(form)
            forms.update(dict.fromkeys([parsed.path, *parse_qs(parsed.query).get("d", [])]))
    forms.update(dict.fromkeys([unquote(form) for form in forms]))
    forms.update(dict.fromkeys([DRIVE.sub("", form).lstrip("/") for form in forms]))
    for form in list(forms):
        forms.update({unicodedata.normalize(how, form): None for how in ("NFC", "NFD")})
    return [form for form in forms if form and "\0" not in form]


def _parts(path: str) -> list[str]:
    text = unicodedata.normalize("NFC", path).casefold()
    return [part for part in PurePosixPath(text).parts if part not in ("/", ".", "..")]


def _shared(a: Sequence[str], b: Sequence[str]) -> int:
    """Return the number of trailing components that two paths share."""
    count = 0
    for mine, theirs in zip(reversed(a), reversed(b), strict=False):
        if mine != theirs:
            break
        count += 1
    return count
