import io

import recorded
from rich.console import Console

from experiments.queue.display import Display
from experiments.queue.progress import TableProgress, duration


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


def test_time_left_is_the_pace_so_far() -> None:
    clock = Clock()
    table = TableProgress(total=3, clock=clock)
    run = table.begin("a", "a")
    assert run.left(table.expected) is None
    assert table.left is None
    run.update(START | {"resumed": 20})
    clock.now = 10.0
    run.update(STEP | {"iter": 40})
    assert run.left(table.expected) == 30.0  # 20 iterations took 10 s, 60 are left
    assert table.left == 30.0 + 2 * 50.0  # whole runs of 100 iterations


def test_time_left_before_the_first_step_is_what_records_say() -> None:
    table = TableProgress(total=2, clock=Clock(), expected=60.0)
    run = table.begin("a", "a")
    assert run.left(table.expected) == 60.0
    assert table.left == 120.0
    run.update(START | {"resumed": 50})
    assert run.left(table.expected) == 30.0


def test_a_finished_run_tells_how_long_the_others_take() -> None:
    clock = Clock()
    table = TableProgress(total=4, clock=clock, expected=60.0)
    table.begin("a", "a")
    clock.now = 20.0
    table.end("a")
    run = table.begin("b", "b")
    assert table.left == 60.0
    run.update(START | {"resumed": 90})
    clock.now = 21.0
    table.end("b")  # of a resumed run this machine has seen a part only
    table.begin("c", "c")
    assert table.left == 40.0
    clock.now = 22.0
    table.end("c", whole=False)
    table.begin("d", "d")
    assert table.left == 20.0


def test_several_at_a_time_take_their_share_of_the_time() -> None:
    clock = Clock()
    table = TableProgress(total=5, jobs=2, clock=clock, expected=60.0)
    first = table.begin("a", "a")
    assert table.left == 180.0  # 60 here; there 60, 60 and one of the two a third
    first.update(START)
    second = table.begin("b", "b")
    second.update(START)
    clock.now = 30.0
    first.update(STEP | {"iter": 50})
    second.update(STEP | {"iter": 75})
    # 30 s and 10 s are left; c begins after 10, d after 30, e after c, at 70.
    assert table.left == 130.0
    assert table.fraction == (0.5 + 0.75) / 5
    second.update(STEP | {"iter": 100})
    table.end("b")
    assert table.fraction == 1.5 / 5
    assert table.left == 60.0  # c takes 30 s from now, d and e from then


def test_an_evaluation_tells_that_its_epoch_is_over() -> None:
    run = TableProgress(total=1, clock=Clock()).begin("a", "a")
    run.update({"event": "start", "iters": 16, "epochs": 2})
    run.update({"event": "train", "iter": 9, "epoch": 1, "loss": 1.0})
    run.update({"event": "eval", "epoch": 2, "AP": 1.0})
    assert run.fraction == 1.0


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
    assert display.progress.fraction == 1 / 3


def test_a_terminal_says_what_is_waited_for() -> None:
    display, out = terminal()
    with display.table(2):
        display.preparing("checking COCO")
        display.elsewhere(["row a, seed 0"])
    assert "waiting for another process: row a, seed 0" in out.getvalue()


def test_plain_lines_tell_of_the_data_seldom() -> None:
    out, clock = io.StringIO(), Clock()
    display = Display(Console(file=out, width=200), clock=clock)
    with display.table(1):
        for done in range(5):
            clock.now += 10.0
            display.preparing("drawing", done, 4)
    assert out.getvalue().splitlines() == ["drawing 0/4", "drawing 3/4", "drawing 4/4"]


def terminal() -> tuple[Display, io.StringIO]:
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True, color_system=None)
    return Display(console), out


def test_a_terminal_shows_the_run_and_keeps_what_was_said() -> None:
    display, out = terminal()
    with display.table(2):
        display.begin("q", "QFL, seed 0")
        display.event("q", {"event": "start", "iters": 4, "epochs": 2, "resumed": 0})
        display.event(
            "q", {"event": "train", "iter": 1, "epoch": 1, "loss": 1.5, "images_per_second": 42.0}
        )
        display.note("something worth knowing")
    text = out.getvalue()
    assert "run 1 of 2: QFL, seed 0" in text
    assert "25%" in text
    assert "epoch 1/2  loss 1.500  42 images/s" in text
    assert "something worth knowing" in text


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
    text = out.getvalue()
    assert "drawing the embedded data set 50/100" in text
    assert "0 of 4 runs finished" in text
    assert "25%" in text
    lines = [line.rstrip() for line in text.splitlines()]
    for id in "ab":
        assert f"row {id}, seed 0  epoch 2/4  loss 1.000  5.0 images/s" in lines
        assert f"row {id}, seed 0  epoch 2/4  loss 1.000  5.0 images/s  stopping" in lines
