"""CUDA without a GPU: tensors that have a device and a shape, but no values.

Torch's ``FakeTensorMode`` refuses to mix devices. It also refuses to read a value, and an operation
whose result's shape depends on one; here both are counted, and answered by something plausible, so
that a detector runs to its end. What is on the host stays real.

A backward pass on a CUDA device that is not there is refused by autograd itself. On the device
"meta" it is not, and calls the same operations: what a backward pass reads is counted there.
"""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Literal
from unittest import mock

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

PACKAGES = ("gfl", "mmdet", "mmcv", "mmengine", "benchmarks")
MANY = 4  # elements of a mask that are True, and boxes that survive suppression
Way = Literal["read", "upload"]
MASKS = (torch.bool, torch.uint8)


class Transfers:
    """Transfers between the host and a device: "read gfl.assign.assign_batch", and how many.

    A read is from the device to the host, which waits until the device has done all that it was
    given. An upload is the other way. The name is of the innermost function of this project, mmdet,
    mmcv or mmengine.
    """

    def __init__(self) -> None:
        self.counted: Counter[str] = Counter()

    def add(self, way: Way) -> None:
        self.counted[f"{way} {_place()}"] += 1

    def taken(self) -> dict[str, int]:
        """Return what was counted since the last call."""
        counted, self.counted = dict(self.counted), Counter()
        return counted


@contextlib.contextmanager
def fake_device(device: Literal["cuda", "meta"] = "cuda") -> Iterator[Transfers]:
    """Let tensors be moved to a device that is not there, and count the transfers."""
    transfers = Transfers()
    fake = FakeTensorMode(allow_non_fake_inputs=True) if device == "cuda" else _no_mode()
    # FakeTensor's own reads element by element.
    lists = mock.patch.object(FakeTensor, "tolist", Tensor.tolist)
    with lists, fake, _Answers(transfers), _Functions(transfers):
        yield transfers


def _no_mode() -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext()


class _Functions(TorchFunctionMode):
    """Answers what is refused, or does not reach ``_Answers``, while a mode is active."""

    def __init__(self, transfers: Transfers) -> None:
        super().__init__()
        self.transfers = transfers

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in (Tensor.tolist, Tensor.numpy):
            if _is_away(args[0]):
                if func is Tensor.numpy:
                    raise TypeError("a tensor of a device has no array: copy it to the host first")
                self.transfers.add("read")
            real = args[0].detach()
            if isinstance(real, FakeTensor) or real.is_meta:
                real = _host(real, whole=0)  # the first image, the first class
            with _disable_current_modes():
                return func(real, *args[1:], **kwargs)
        # There are no sparse tensors without values: a dense one in its place.
        if func is torch.sparse_coo_tensor and _is_away(args[1]):
            indices, values = args
            if "size" not in kwargs:
                self.transfers.add("read")  # of the largest indices
            shape = kwargs.get("size", [MANY] * len(indices) + list(values.shape[1:]))
            return values.new_zeros(shape) + 0 * values.sum()
        if func is torch._sparse_sum and not args[0].is_sparse:
            return args[0].sum(*args[1:], **kwargs)
        return func(*args, **kwargs)


class _Answers(TorchDispatchMode):
    """Counts transfers, and answers operations whose result depends on values."""

    def __init__(self, transfers: Transfers) -> None:
        super().__init__()
        self.transfers = transfers

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if _is_of_host(args, kwargs):
            with _disable_current_modes():
                return func(*args, **kwargs)
        name = func.name().removeprefix("aten::")
        if name in ("_to_copy", "copy_"):
            return self._copied(func, name, args, kwargs)
        if name.startswith(("index.Tensor", "index_put")):
            return self._indexed(func, name, args, kwargs)
        if name in ANSWERS and (found := ANSWERS[name](*args, **kwargs)) is not None:
            self.transfers.add("read")
            return found
        found = func(*args, **kwargs)
        if not isinstance(found, Tensor):
            return found
        if name == "isnan" or (name.startswith("any") and hasattr(args[0], "is_false")):
            found.is_false = True  # type: ignore[attr-defined]
        return found if _is_away(found) else _host(found)  # a factory's, like a tensor elsewhere

    def _copied(self, func: Any, name: str, args: tuple[Any, ...], kwargs: Any) -> Any:
        source = args[1] if name == "copy_" else args[0]
        to = args[0].device if name == "copy_" else kwargs.get("device") or source.device
        if (to.type == "cpu") == (source.device.type == "cpu"):
            return func(*args, **kwargs)
        self.transfers.add("read" if to.type == "cpu" else "upload")
        if to.type == "cpu":
            return args[0] if name == "copy_" else _host(source, kwargs.get("dtype"))
        return func(*args, **kwargs)

    def _indexed(self, func: Any, name: str, args: tuple[Any, ...], kwargs: Any) -> Any:
        of, indices, *rest = args
        masks = sum(index is not None and index.dtype in MASKS for index in indices)
        puts = name.startswith("index_put")
        # Where a mask is True to put a number from the host is masked_fill on CUDA: no read.
        if not (puts and rest[0].numel() == 1 and not _is_away(rest[0])):
            for _ in range(masks):
                self.transfers.add("read")
        if masks and puts:
            return of if name.startswith("index_put_") else of.clone()
        found: list[Tensor | None] = []
        for index in indices:
            is_mask = index is not None and index.dtype in MASKS
            found += _nonzero(index).unbind(1) if is_mask else [index]
        return func(of, found, *rest, **kwargs)


def _item(x: Tensor) -> Any:
    real = _host(x)
    with _disable_current_modes():
        return False if hasattr(x, "is_false") else real.item()


def _nonzero(mask: Tensor) -> Tensor:
    return mask.new_zeros(min(MANY, mask.numel()), mask.dim(), dtype=torch.int64)


def _selected(x: Tensor, mask: Tensor) -> Tensor:
    return x.new_zeros(min(MANY, mask.numel()))


def _equal(x: Tensor, other: Tensor) -> bool:
    return True


def _unique(x: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor, Tensor]:
    found = x.flatten()
    found = found if len(found) <= MANY else found[:1]  # few are all different, many all the same
    return found, x.new_zeros(x.shape, dtype=torch.int64), torch.ones_like(found)


def _repeated(counts: Tensor, *, output_size: int | None = None) -> Tensor | None:
    return counts.new_zeros(MANY) if output_size is None else None


def _survivors(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    return torch.arange(min(MANY, len(boxes)), device=boxes.device)


# Operations whose result, or its shape, depends on values; None: not with these arguments.
ANSWERS: dict[str, Callable[..., Any]] = {
    "_local_scalar_dense": _item,
    "nonzero": _nonzero,
    "masked_select": _selected,
    "equal": _equal,
    "_unique2": _unique,
    "repeat_interleave.Tensor": _repeated,
    "torchvision::nms": _survivors,
}


def _is_away(tensor: Tensor) -> bool:
    return tensor.device.type != "cpu"


def _is_of_host(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Return True for an operation on real tensors of the host that makes another there."""
    device = kwargs.get("device")
    if device is not None and torch.device(device).type != "cpu":
        return False
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    return not any(isinstance(x, FakeTensor) or x.is_meta for x in tensors)


def _host(tensor: Tensor, dtype: torch.dtype | None = None, whole: int = 1) -> Tensor:
    """Return a real tensor on the host in the place of one without values."""
    shape, dtype = tuple(tensor.shape), dtype or tensor.dtype
    with _disable_current_modes():
        return torch.full(shape, 0.5 if dtype.is_floating_point else whole, dtype=dtype)


def _place() -> str:
    """Name the innermost function of this project or mmdet's that is running."""
    frame = sys._getframe()
    while frame := frame.f_back:
        module = frame.f_globals.get("__name__", "")
        is_wrapper = frame.f_code.co_filename.startswith("<")  # beartype's
        if module.split(".")[0] in PACKAGES and not is_wrapper:
            return f"{module}.{frame.f_code.co_qualname}"
    return "torch"
