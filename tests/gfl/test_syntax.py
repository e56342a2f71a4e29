import pytest

from gfl.syntax import meaning

SOURCE = """
def f(x):
    if x < 0:
        raise ValueError(f"{x} is negative")
    return x + 1
"""
SAME = """
# A remark.
def f(x):
    'What it returns.'
    if (x < 0):
        raise ValueError("another text")
    return (x
            + 1)
"""


def test_remarks_layout_and_the_text_of_exceptions_are_no_part_of_the_meaning() -> None:
    assert meaning(SAME) == meaning(SOURCE)


@pytest.mark.parametrize(("old", "new"), [("+ 1", "+ 2"), ("ValueError", "KeyError"), ("<", "<=")])
def test_what_is_computed_and_raised_is(old: str, new: str) -> None:
    assert meaning(SOURCE.replace(old, new)) != meaning(SOURCE)
