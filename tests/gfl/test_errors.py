import errno
from pathlib import Path

import pytest
import torch

from gfl.errors import UserError, did_you_mean, disk_error

HERE = Path("runs/here")


@pytest.mark.parametrize(
    ("err", "message"),
    [
        (OSError(errno.ENOSPC, "x"), "runs/here: the disk is full; free some space and run again"),
        (OSError(errno.EDQUOT, "x", "a/b"), "a/b: the disk is full; free some space and run again"),
        (
            OSError(errno.EFBIG, "File too large", "a/b"),
            "a/b: larger than a file may be here; ulimit -f shows the limit",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "a/b"), "a/b: Permission denied"),
        (OSError(errno.EROFS, "Read-only file system"), "runs/here: Read-only file system"),
    ],
)
def test_what_the_user_can_mend_is_one_line(err: OSError, message: str) -> None:
    found = disk_error(err, HERE)
    assert isinstance(found, UserError)
    assert str(found) == message


def test_other_errors_are_not_the_users() -> None:
    for err in (FileNotFoundError(errno.ENOENT, "x", "a"), RuntimeError("x"), KeyError("x")):
        assert disk_error(err, HERE) is None


def test_a_full_disk_is_known_under_torchs_error_too() -> None:
    class Full:
        def write(self, content: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        def flush(self) -> None: ...

    with pytest.raises((RuntimeError, OSError)) as caught:
        torch.save({"a": torch.zeros(100)}, Full())
    assert "the disk is full" in str(disk_error(caught.value, HERE))

    def end() -> None:  # its writer's own end fails in turn
        try:
            raise caught.value
        finally:
            raise RuntimeError("unexpected pos 768 vs 662")

    with pytest.raises(RuntimeError) as ended:
        end()
    assert "the disk is full" in str(disk_error(ended.value, HERE))


def test_a_near_miss_is_named_and_else_what_is_known() -> None:
    assert did_you_mean("laptp", ["smoke", "laptop"]) == "; did you mean 'laptop'?"
    assert did_you_mean("x", ["smoke", "laptop"]) == "; known: smoke, laptop"
    assert did_you_mean("x", {"smoke", "laptop"}) == "; known: laptop, smoke"
    assert did_you_mean("table-4", ["table-3", "table-2"]) == "; known: table-3, table-2"
    assert did_you_mean("table-33", ["table-3", "table-2"]) == "; did you mean 'table-3'?"
    assert did_you_mean("nope", map(str, range(8))) == "; known: 0, 1, 2, 3, 4 and 3 more"
