import io

from rich.console import Console

from experiments.display import Display, Tracker, duration


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


def test_time_left_is_the_pace_so_far() -> None:
    clock = Clock()
    tracker = Tracker(total=3, clock=clock)
    tracker.begin("a")
    assert tracker.run_left is None
    tracker.update({"event": "start", "iters": 100, "epochs": 4, "resumed": 20})
    clock.now = 10.0
    tracker.update(
        {"event": "train", "iter": 40, "epoch": 2, "loss": 1.0, "images_per_second": 5.0}
    )
    assert tracker.run_left == 30.0  # 20 iterations took 10 s, 60 are left
    assert tracker.table_left == 30.0 + 2 * 50.0  # whole runs of 100 iterations


def test_time_left_before_the_first_step_is_what_records_say() -> None:
    tracker = Tracker(total=2, clock=Clock(), expected=60.0)
    tracker.begin("a")
    assert tracker.run_left == 60.0
    assert tracker.table_left == 120.0
    tracker.update({"event": "start", "iters": 100, "epochs": 4, "resumed": 50})
    assert tracker.run_left == 30.0


def test_a_finished_run_tells_how_long_the_others_take() -> None:
    clock = Clock()
    tracker = Tracker(total=3, clock=clock, expected=60.0)
    tracker.begin("a")
    clock.now = 20.0
    tracker.end()
    tracker.begin("b")
    assert tracker.table_left == 40.0
    tracker.update({"event": "start", "iters": 100, "epochs": 4, "resumed": 90})
    clock.now = 21.0
    tracker.end()  # of a resumed run this machine has seen a part only
    tracker.begin("c")
    assert tracker.table_left == 20.0


def test_an_evaluation_tells_that_its_epoch_is_over() -> None:
    tracker = Tracker(total=1, clock=Clock())
    tracker.begin("a")
    tracker.update({"event": "start", "iters": 16, "epochs": 2})
    tracker.update({"event": "train", "iter": 9, "epoch": 1, "loss": 1.0})
    tracker.update({"event": "eval", "epoch": 2, "AP": 1.0})
    assert tracker.fraction == 1.0


def test_plain_lines_are_one_an_epoch_or_half_a_minute() -> None:
    out = io.StringIO()
    display = Display(Console(file=out, width=200))
    clock = Clock()
    display.tracker.clock = clock
    with display.table(1):
        display.begin("QFL, seed 0")
        display.event({"event": "start", "iters": 9, "epochs": 3, "resumed": 0})
        for i in range(9):
            clock.now += 16.0 if i >= 6 else 1.0
            step = {"event": "train", "iter": i + 1, "epoch": i // 3 + 1, "loss": 9.0 - i}
            display.event(step | {"images_per_second": 42.0})
        display.event({"event": "message", "text": "[loader] slow"})
        display.event({"event": "eval", "epoch": 3, "AP": 12.34, "AP50": 1.0, "AP75": 1.0})
    lines = out.getvalue().splitlines()
    assert [line.split(", left")[0] for line in lines] == [
        "run 1 of 1: QFL, seed 0",
        "  epoch 1/3, loss 7.000, 42 images/s",
        "  epoch 2/3, loss 4.000, 42 images/s",
        "  epoch 3/3, loss 1.000, 42 images/s",
        "QFL, seed 0: [loader] slow",
        "  epoch 3/3, loss 1.000, AP 12.3, 42 images/s",
    ]


def test_a_terminal_shows_the_run_and_keeps_what_was_said() -> None:
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True, color_system=None)
    display = Display(console)
    with display.table(2):
        display.begin("QFL, seed 0")
        display.event({"event": "start", "iters": 4, "epochs": 2, "resumed": 0})
        display.event(
            {"event": "train", "iter": 1, "epoch": 1, "loss": 1.5, "images_per_second": 42.0}
        )
        display.note("something worth knowing")
    text = out.getvalue()
    assert "run 1 of 2: QFL, seed 0" in text
    assert "25%" in text
    assert "epoch 1/2  loss 1.500  42 images/s" in text
    assert "something worth knowing" in text
