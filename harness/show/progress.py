"""What a run shows while it goes: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from harness.run.agreement import Agreement
from harness.run.listener import Listener, Progress
from harness.run.plan import Plan

REFRESH_SECONDS = 0.25


class Clock:
    """Time left, from the share of all training steps that is done."""

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self.now = now
        self.begun: float | None = None
        self.done = self.total = 0

    def seed_begins(self, steps: int, seeds: int) -> None:
        """Count on as many steps for each seed; the clock starts with the first."""
        if self.begun is None:
            self.begun, self.total = self.now(), steps * seeds

    def left(self) -> str:
        """Return the time left as `m:ss`; unknown before the first block."""
        if self.begun is None or not self.done:
            return "-:--"
        return duration((self.now() - self.begun) * max(self.total - self.done, 0) / self.done)


def duration(seconds: float) -> str:
    """Return seconds as `m:ss`, or `h:mm:ss`."""
    minutes, seconds = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{seconds:02}"
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


def what_is_trained(plan: Plan) -> str:
    """Return what a plan is of, in a sentence."""
    training = plan.spec.training
    return (
        f"{plan.spec.name} on {plan.dataset}: {_count(training.epochs, 'epoch')}, "
        f"{_count(len(plan.seeds), 'seed')}, batch {training.batch_size}, {plan.precision}, "
        f"{_count(plan.threads, 'thread')}, {plan.environment} environment"
        + ", training set streamed"
        * (plan.stream == "always")
    )


class PlainProgress(Listener):
    """A line for each phase, epoch and failure."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.clock = Clock()
        self.latest: dict[str, Progress] = {}
        self.width = 0

    def started(self, plan: Plan, path: str) -> None:
        """Say what is run, and where the results go."""
        self.plan = plan
        self.width = max(len(info.label) for info in plan.backends) + 4
        self.say(what_is_trained(plan))
        self.say(f"results: {path}")

    def phase(self, label: str, phase: str) -> None:
        """Say who begins what."""
        self.say(f"{label:{self.width}} {phase}")

    def agreed(self, label: str, agreement: Agreement) -> None:
        """Say whether it is the same network."""
        answer = "same network" if agreement.equivalent else "DIFFERS"
        self.say(f"{label:{self.width}} {answer}: {agreement}")

    def judged(self, label: str, rung: str, judgement: str) -> None:
        """Say what became of one rung."""
        self.say(f"{label:{self.width}} {rung}: {judgement}")

    def seed_begins(self, seed: int, steps: int) -> None:
        """Start the clock."""
        self.clock.seed_begins(steps, len(self.plan.seeds))

    def trained(self, progress: Progress) -> None:
        """Remember the block for the line of its epoch."""
        self.clock.done += progress.steps
        self.latest[progress.label] = progress

    def evaluated(
        self, label: str, seed: int, epoch: int, split: str, loss: float, accuracy: float | None
    ) -> None:
        """Say how the epoch went."""
        last = self.latest.get(label)
        speed = f"{last.images_per_second:9,.0f} images/s  loss {last.loss:.4f}  " if last else ""
        right = f"accuracy {100 * accuracy:.2f} %" if accuracy is not None else f"loss {loss:.4f}"
        self.say(
            f"{label:{self.width}} seed {seed} epoch {epoch}/{self.plan.spec.training.epochs}  "
            f"{speed}{split} {right}  left {self.clock.left()}"
        )

    def reached(self, label: str, seed: int, epoch: int, seconds: float, steps: int) -> None:
        """Say after how much training; what is left of it is not waited for."""
        self.clock.total -= steps
        self.say(
            f"{label:{self.width}} seed {seed} accuracy reached after {_count(epoch, 'epoch')}, "
            f"{seconds:.2f} s of training"
        )

    def failed(self, label: str, status: str, message: str) -> None:
        """Say what happened; the rest of the message is in the results."""
        self.say(f"{label:{self.width}} {status}: {message.partition(chr(10))[0]}")

    def say(self, line: str) -> None:
        """Print one line, as it is."""
        self.console.print(Text(line), soft_wrap=True)


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


class LiveProgress(PlainProgress):
    """A table of what each backend is doing, and a bar; redrawn between blocks, never within.

    There is no thread that redraws by the clock: it would take time from what is measured.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.doing: dict[str, tuple[str, str]] = {}
        self.bar = Bar(
            TextColumn("{task.percentage:>3.0f} %"),
            BarColumn(None),
            TextColumn("left {task.fields[left]}"),
            console=console,
            auto_refresh=False,
        )
        self.task = self.bar.add_task("", total=None, left="-:--")
        self.live = Live(console=console, auto_refresh=False, transient=True)
        self.drawn = 0.0

    def started(self, plan: Plan, path: str) -> None:
        """Begin to draw."""
        super().started(plan, path)
        self.live.start()

    def phase(self, label: str, phase: str) -> None:
        """Show who begins what."""
        self.doing[label] = (phase, "")
        self._draw(at_once=True)

    def agreed(self, label: str, agreement: Agreement) -> None:
        """Show it; a difference stays on the screen."""
        if agreement.equivalent:
            self.doing[label] = ("same network", "")
        else:
            super().agreed(label, agreement)
        self._draw(at_once=True)

    def seed_begins(self, seed: int, steps: int) -> None:
        """Start the clock and the bar."""
        super().seed_begins(seed, steps)
        self.bar.update(self.task, total=self.clock.total)

    def trained(self, progress: Progress) -> None:
        """Show seed, epoch, loss and speed."""
        super().trained(progress)
        where = f"seed {progress.seed} epoch {progress.epoch}/{self.plan.spec.training.epochs}"
        figures = f"loss {progress.loss:.4f}  {progress.images_per_second:9,.0f} images/s"
        self.doing[progress.label] = (where, figures)
        self.bar.update(self.task, completed=self.clock.done, left=self.clock.left())
        self._draw()

    def evaluated(
        self, label: str, seed: int, epoch: int, split: str, loss: float, accuracy: float | None
    ) -> None:
        """Add the accuracy to the backend's line."""
        where, figures = self.doing.get(label, ("", ""))
        if accuracy is not None:
            figures = f"{figures.partition('  accuracy')[0]}  accuracy {100 * accuracy:.2f} %"
        self.doing[label] = (where, figures)
        self._draw()

    def reached(self, label: str, seed: int, epoch: int, seconds: float, steps: int) -> None:
        """Leave it on the screen."""
        super().reached(label, seed, epoch, seconds, steps)
        self.bar.update(self.task, total=self.clock.total)

    def failed(self, label: str, status: str, message: str) -> None:
        """Leave it on the screen."""
        self.doing.pop(label, None)
        super().failed(label, status, message)

    def finished(self) -> None:
        """Clear the display."""
        self.live.stop()

    def _draw(self, at_once: bool = False) -> None:
        now = monotonic()
        if not at_once and now - self.drawn < REFRESH_SECONDS:
            return
        self.drawn = now
        table = Table.grid(padding=(0, 2))
        for label, (where, figures) in self.doing.items():
            table.add_row(label, where, figures)
        self.live.update(Group(table, self.bar), refresh=True)


def make_listener(console: Console, quiet: bool) -> Listener:
    """Return the display that fits: none, plain lines, or live."""
    if quiet:
        return Listener()
    return LiveProgress(console) if console.is_terminal else PlainProgress(console)
