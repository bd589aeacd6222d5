from __future__ import annotations

import io

import pytest
from rich.console import Console

from harness.contract import Setting
from harness.registry import BackendInfo
from harness.run.agreement import Agreement
from harness.run.listener import Listener, Progress
from harness.run.plan import Plan
from harness.show.progress import Clock, LiveProgress, PlainProgress, make_listener
from harness.spec import load_spec

INFO = BackendInfo("torch", "", "module:Class", True, (), {}, "pip install x")


@pytest.fixture
def plan():
    return Plan(load_spec("mnist-1conv"), "digits", (INFO,), INFO, threads=Setting().threads)


def tell(listener: Listener, plan: Plan) -> None:
    listener.started(plan, "results/x")
    listener.phase("torch", "import")
    listener.agreed("torch", Agreement("logits", 0.5, 1e-4))
    listener.seed_begins(0, 10)
    listener.trained(Progress("torch", 0, 1, 0.25, 1234.0, 5))
    listener.evaluated("torch", 0, 1, "test", 0.2, 0.9875)
    listener.failed("torch", "crashed", "it ended\nwith a long tail")
    listener.finished()


def test_plain_lines_name_backend_seed_epoch_loss_speed_and_accuracy(plan):
    console = Console(file=io.StringIO(), width=40)
    tell(PlainProgress(console), plan)
    lines = console.file.getvalue().splitlines()
    line = next(line for line in lines if "epoch 1/10" in line)
    for part in ("torch", "seed 0", "1,234 images/s", "loss 0.2500", "accuracy 98.75 %", "left "):
        assert part in line
    assert any("DIFFERS: logits differs by 5.0e-01" in line for line in lines)
    assert any(line.endswith("crashed: it ended") for line in lines)


def test_the_live_display_shows_the_same_and_clears_itself(plan):
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    live = LiveProgress(console)
    tell(live, plan)
    assert not live.live.is_started
    text = console.file.getvalue()
    assert "DIFFERS" in text
    assert "crashed" in text


def test_the_live_display_has_no_thread_of_its_own(plan):
    import threading

    before = threading.active_count()
    live = LiveProgress(Console(file=io.StringIO(), force_terminal=True))
    live.started(plan, "results/x")
    live.phase("torch", "import")
    assert threading.active_count() == before
    live.finished()


def test_time_left_follows_from_the_share_of_steps_that_is_done():
    times = iter([100.0, 110.0, 110.0])
    clock = Clock(lambda: next(times))
    clock.seed_begins(50, seeds=3)
    assert clock.left() == "-:--"
    clock.done = 15
    assert clock.left() == "1:30"
    clock.total = 15 + 15 * 600
    assert clock.left() == "1:40:00"


@pytest.mark.parametrize(
    ("terminal", "quiet", "kind"),
    [(True, False, LiveProgress), (False, False, PlainProgress), (True, True, Listener)],
)
def test_the_display_fits_where_it_is_shown(terminal, quiet, kind):
    console = Console(file=io.StringIO(), force_terminal=terminal)
    assert type(make_listener(console, quiet)) is kind
