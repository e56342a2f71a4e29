"""Registration of this project with mmdet: `custom_imports=dict(imports=["gfl.register"])`.

Importing it imports all of mmdet, because parts of it print messages at first import.
"""

import contextlib
import io
import warnings
from collections.abc import Iterator

from gfl.records import account

# Messages of other packages at import. None concerns anything the user did or should do; anything
# not listed here is let through.
_LINES = frozenset({"Could not import OneDL. Skipping OneDL datasets."})
_WARNINGS: tuple[tuple[type[Warning], str, str], ...] = (
    (DeprecationWarning, r"`torch\.jit\.(script|interface)` is deprecated", r"torch\.jit\._script"),
    (ImportWarning, r"``MultiScaleDeformableAttention`` has been moved", r"mmcv\.cnn"),
    (UserWarning, r"faster_coco_eval is not installed", r"mmdet\.evaluation"),
    # Python 3.11's and 3.12's warning when it first compiles a file; "module" is then its path.
    (DeprecationWarning, r"invalid escape sequence", r".*[/\\]mmdet[/\\]"),
    (SyntaxWarning, r"invalid escape sequence", r".*[/\\]mmdet[/\\]"),
)


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Ignore the warnings listed above, and restore the user's filters."""
    with warnings.catch_warnings():
        for category, message, module in _WARNINGS:
            warnings.filterwarnings("ignore", message, category, module)
        yield


@contextlib.contextmanager
def _without_lines() -> Iterator[None]:
    """Buffer the output, then print the lines not listed above."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            yield
    finally:
        for line in printed.getvalue().splitlines():
            if line not in _LINES:
                print(line)


with _without_warnings():
    account.complete()

    # Before stdout is redirected: sympy, imported by this, keeps the stdout it finds.
    import mmdet.models

    with _without_lines():
        import mmdet.datasets

    import mmdet.apis  # noqa: F401

    import gfl.data.cocoapi
    import gfl.data.features.loading
    import gfl.data.features.stored
    import gfl.data.loading
    import gfl.data.seeding
    import gfl.head
    import gfl.joint
    import gfl.systems.centernet
    import gfl.systems.grid
    import gfl.systems.mirrored
    import gfl.systems.reppoints
    import gfl.systems.sapd
    import gfl.systems.stock
    import gfl.systems.trident
    import gfl.systems.trident_network
    import gfl.systems.tsd
    import gfl.systems.two_stage
    import gfl.training.loaders
    import gfl.training.loop
    import gfl.training.metric
    import gfl.training.optim
    import gfl.training.processes

    gfl.data.cocoapi.install()
