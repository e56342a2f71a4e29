"""Replacement for `mmcv._ext` without compilation, with the names and signatures mmcv expects."""

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

from gfl.ops.deform_conv import (
    deform_conv_backward_input,
    deform_conv_backward_parameters,
    deform_conv_forward,
    modulated_deform_conv_backward,
    modulated_deform_conv_forward,
)
from gfl.ops.focal_loss import sigmoid_focal_loss_backward, sigmoid_focal_loss_forward
from gfl.ops.nms import nms, softnms
from gfl.ops.roi_align import roi_align_backward, roi_align_forward

__all__ = [
    "deform_conv_backward_input",
    "deform_conv_backward_parameters",
    "deform_conv_forward",
    "get_compiler_version",
    "get_compiling_cuda_version",
    "modulated_deform_conv_backward",
    "modulated_deform_conv_forward",
    "nms",
    "roi_align_backward",
    "roi_align_forward",
    "sigmoid_focal_loss_backward",
    "sigmoid_focal_loss_forward",
    "softnms",
]


def get_compiler_version() -> str:
    """Report in mmcv's environment summary that nothing was compiled."""
    return "none (operators from torchvision, by gfl.ops)"


def get_compiling_cuda_version() -> str:
    """Report in mmcv's environment summary that nothing was compiled."""
    return "none (operators from torchvision, by gfl.ops)"


# At import mmcv asserts that the extension has each of its hundred-odd operators: every name must
# exist, and only a call may fail.
def __getattr__(name: str) -> Callable[..., None]:
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def missing(*_args: object, **_kwargs: object) -> None:
        raise NotImplementedError(_how_to_get(name))

    missing.__name__ = missing.__qualname__ = name
    return missing


def _how_to_get(operator: str) -> str:
    try:
        requirement = f"onedl-mmcv=={version('onedl-mmcv')}"
    except PackageNotFoundError:
        requirement = "onedl-mmcv"
    return (
        f"mmcv's operator {operator!r} needs a compiled mmcv: this one was installed without its "
        "native operators, and gfl.ops has no stand-in for this one. With a C++ compiler (and nvcc "
        "for CUDA) installed, build it: MMCV_WITH_OPS=1 pip install --force-reinstall --no-deps "
        f"--no-build-isolation --no-binary onedl-mmcv {requirement}"
    )
