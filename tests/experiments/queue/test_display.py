import io
import re
from typing import Any

import recorded
from rich.console import Console

from experiments.queue.display import Display
from experiments.queue.estimates import duration


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_durations_as_a_person_says_them() -> None:
    assert duration(0.4) == "0 s"
    assert duration(89) == "89 s"
    assert duration(90) == "2 min"
    assert duration(3600) == "60 min"
    assert duration(12000) == "3 h 20 min"


START = {"event": "start", "iters": 100, "epochs": 4, "resumed": 0}
STEP = {"event": "train", "epoch": 2, "loss": 1.0, "images_per_second": 5.0}


def table(total: int, jobs: int = 1, expected: float | None = None) -> tuple[Display, Clock]:
    clock = Clock()
    display = Display(Console(file=io.StringIO()), expected=expected, clock=clock)
    with display.table(total, jobs):
        pass
    return display, clock


def left(display: Display, id: str) -> float | None:
    return display.left_of(display.running[id])


def test_time_left_is_the_pace_so_far() -> None:
    display, clock = table(3)
    display.begin("a", "a")
    assert left(display, "a") is None
    assert display.left is None
    display.event("a", START | {"resumed": 20})
    clock.now = 10.0
    display.event("a", STEP | {"iter": 40})
    assert left(display, "a") == 30.0  # 20 iterations took 10 s, 60 are left
    assert display.left == 30.0 + 2 * 50.0  # whole runs of 100 iterations


def test_the_pace_includes_evaluations() -> None:
    display, clock = table(1)
    display.begin("a", "a")
    display.event("a", START)
    for clock.now, iter in ((10.0, 10), (20.0, 20), (130.0, 40)):
        display.event("a", STEP | {"iter": iter})
    assert left(display, "a") == 60 * 120.0 / 30


def test_time_left_before_the_first_step_is_what_records_say() -> None:
    display, _ = table(2, expected=60.0)
    display.begin("a", "a")
    assert left(display, "a") == 60.0
    assert display.left == 120.0
    display.event("a", START | {"resumed": 50})
    assert left(display, "a") == 30.0


def test_a_finished_run_tells_how_long_the_others_take() -> None:
    display, clock = table(4, expected=60.0)
    display.begin("a", "a")
    clock.now = 20.0
    display.end("a", recorded.record())
    display.begin("b", "b")
    assert display.left == 60.0
    display.event("b", START | {"resumed": 90})
    clock.now = 21.0
    display.end("b", recorded.record())  # of a resumed run this machine has seen a part only
    display.begin("c", "c")
    assert display.left == 40.0
    clock.now = 22.0
    display.end("c", recorded.record(state="failed", message="no loss"))
    display.begin("d", "d")
    assert display.left == 20.0


def test_several_at_a_time_take_their_share_of_the_time() -> None:
    display, clock = table(5, jobs=2, expected=60.0)
    display.begin("a", "a")
    assert display.left == 180.0  # 60 here; there 60, 60 and one of the two a third
    display.begin("b", "b")
    for id, iter in (("a", 10), ("b", 15)):
        display.event(id, START)
        display.event(id, STEP | {"iter": iter})
    clock.now = 24.0
    for id, iter in (("a", 50), ("b", 75)):
        display.event(id, STEP | {"iter": iter})
    # 30 s and 10 s are left; c begins after 10, d after 30, e after c, at 70.
    assert display.left == 130.0
    assert display.fraction == (0.5 + 0.75) / 5
    display.event("b", STEP | {"iter": 100})
    display.expected = None
    display.end("b", recorded.record())
    assert display.fraction == 1.5 / 5
    assert display.expected == 24.0


def test_an_evaluation_tells_that_its_epoch_is_over() -> None:
    display, _ = table(1)
    display.begin("a", "a")
    display.event("a", {"event": "start", "iters": 16, "epochs": 2})
    display.event("a", {"event": "train", "iter": 9, "epoch": 1, "loss": 1.0})
    assert display.fraction == 9 / 16
    display.event("a", {"event": "eval", "epoch": 2, "AP": 1.0})
    assert display.fraction == 1.0


def test_plain_lines_are_one_an_epoch_or_half_a_minute() -> None:
    out, clock = io.StringIO(), Clock()
    display = Display(Console(file=out, width=200), clock=clock)
    with display.table(1):
        display.begin("q", "QFL, seed 0")
        display.event("q", {"event": "start", "iters": 9, "epochs": 3, "resumed": 0})
        for i in range(9):
            clock.now += 16.0 if i >= 6 else 1.0
            step = {"event": "train", "iter": i + 1, "epoch": i // 3 + 1, "loss": 9.0 - i}
            display.event("q", step | {"images_per_second": 42.0})
        display.event("q", {"event": "message", "text": "[loader] slow"})
        display.event("q", {"event": "eval", "epoch": 3, "AP": 12.34, "AP50": 1.0, "AP75": 1.0})
    lines = out.getvalue().splitlines()
    assert [line.split(", left")[0] for line in lines] == [
        "run 1 of 1: QFL, seed 0",
        "  epoch 1/3, loss 7.000, 42 images/s",
        "  epoch 2/3, loss 4.000, 42 images/s",
        "  epoch 3/3, loss 1.000, 42 images/s",
        "QFL, seed 0: [loader] slow",
        "  epoch 3/3, loss 1.000, AP 12.3, 42 images/s",
    ]


def test_plain_lines_of_several_runs_name_theirs() -> None:
    out = io.StringIO()
    display = Display(Console(file=out, width=200), clock=Clock())
    with display.table(3, jobs=2):
        for id in "ab":
            display.begin(id, f"row {id}")
        for id in "ba":
            display.event(id, START)
            display.event(id, {"event": "eval", "epoch": 4, "AP": 12.34})
    assert out.getvalue().splitlines() == [
        "run 1 of 3: row a",
        "run 2 of 3: row b",
        "row b: epoch 4/4, AP 12.3",
        "row a: epoch 4/4, AP 12.3",
    ]


def test_what_another_process_trains_is_told_once() -> None:
    out = io.StringIO()
    display = Display(Console(file=out, width=200), clock=Clock())
    with display.table(3):
        for names in (["row a", "row b"], [], ["row a", "row b"], ["row b", "row c"]):
            display.elsewhere(names)
        display.done_elsewhere("row b", recorded.record())
        display.begin("d", "row d")
    assert out.getvalue().splitlines() == [
        "another process is training row a; row b",
        "another process is training row c",
        "row b: finished, AP 12.3, trained by another process",
        "run 2 of 3: row d",
    ]
    assert display.fraction == 1 / 3


def test_a_terminal_says_what_is_waited_for() -> None:
    display, out = terminal()
    with display.table(2):
        display.preparing("checking COCO")
        display.elsewhere(["row a, seed 0"])
    assert "waiting for another process: row a, seed 0" in lines(out)


def test_plain_lines_tell_of_the_data_seldom() -> None:
    out, clock = io.StringIO(), Clock()
    display = Display(Console(file=out, width=200), clock=clock)
    with display.table(1):
        for done in range(5):
            clock.now += 10.0
            display.preparing("drawing", done, 4)
    assert out.getvalue().splitlines() == ["drawing 0/4", "drawing 3/4", "drawing 4/4"]


def terminal(width: int = 80, **settings: Any) -> tuple[Display, io.StringIO]:
    out = io.StringIO()
    settings = {"color_system": None, "_environ": {"TERM": "xterm"}} | settings
    console = Console(file=out, width=width, force_terminal=True, **settings)
    return Display(console), out


def train(display: Display) -> None:
    display.begin("q", "QFL, seed 0")
    display.event("q", {"event": "start", "iters": 4, "epochs": 2, "resumed": 0})
    step = {"event": "train", "iter": 1, "epoch": 1, "loss": 1.5, "images_per_second": 42.0}
    display.event("q", step)


CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[━╸╺]")  # cursor movements, colours, bars


def lines(out: io.StringIO) -> list[str]:
    """What was drawn, without the bars and with single blanks."""
    return [" ".join(CONTROLS.sub(" ", line).split()) for line in out.getvalue().splitlines()]


def test_a_terminal_shows_the_run_and_keeps_what_was_said() -> None:
    display, out = terminal()
    with display.table(2):
        train(display)
        display.note("something worth knowing")
    found = lines(out)
    assert "0 of 2 runs finished 12%" in found
    assert "QFL, seed 0 25% epoch 1/2 loss 1.500 42 images/s" in found
    assert "something worth knowing" in found


def test_a_terminal_shows_a_line_for_each_run_in_progress() -> None:
    display, out = terminal()
    with display.table(4, jobs=2):
        display.preparing("drawing the embedded data set", 50, 100)
        display.note("one")
        for id in "ab":
            display.begin(id, f"row {id}, seed 0")
            display.event(id, START)
            display.event(id, STEP | {"iter": 50})
        display.note("two")
        display.stopping()
    found = lines(out)
    assert "drawing the embedded data set 50/100 50%" in found
    assert "0 of 4 runs finished 25%" in found
    for id in "ab":
        assert f"row {id}, seed 0 50% epoch 2/4 loss 1.000 5.0 images/s" in found
        assert f"row {id}, seed 0 50% epoch 2/4 loss 1.000 5.0 images/s stopping" in found


def test_names_are_text_and_steer_no_terminal() -> None:
    display, out = terminal(200)
    with display.table(1):
        display.begin("q", "a [red] \x1b[2J {task} :smile:, seed 0")
    assert any("a [red] \\x1b[2J {task} :smile:, seed 0" in line for line in lines(out))


def test_on_a_narrow_terminal_nothing_is_lost() -> None:
    display, out = terminal(30)
    with display.table(2):
        train(display)
    shown = " ".join(lines(out))
    for fact in ("QFL", "25%", "epoch 1/2", "loss", "1.500", "42", "images/s", "12%"):
        assert fact in shown
    assert max(map(len, CONTROLS.sub("", out.getvalue()).splitlines())) <= 30


def test_no_colour_where_the_user_wants_none() -> None:
    environment = {"TERM": "xterm-256color", "NO_COLOR": "1"}
    display, out = terminal(color_system="auto", _environ=environment)
    with display.table(2):
        train(display)
        display.warning("something is slow")
    assert "something is slow" in out.getvalue()
    assert not re.search(r"\x1b\[[0-9;]*(3[0-7]|38;)[0-9;]*m", out.getvalue())


def test_a_terminal_without_a_cursor_gets_plain_lines() -> None:
    display, out = terminal(_environ={"TERM": "dumb"})
    with display.table(2):
        train(display)
        display.event("q", {"event": "eval", "epoch": 1, "AP": 12.34})
    assert [line.split(", left")[0] for line in lines(out)] == [
        "run 1 of 2: QFL, seed 0",
        "epoch 1/2, loss 1.500, AP 12.3, 42 images/s",
    ]
