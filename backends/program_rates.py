"""The function of a program that gives the learning rate of every step, in NumPy."""

from __future__ import annotations

from harness.contract import SourceWriter
from harness.spec import Training
from harness.spec.training import Constant, Cosine, OneCycle, Step


def rates_function(training: Training) -> str:
    """Write what `Training.learning_rates` computes, for the schedule of this training."""
    schedule, rate = training.schedule, training.optimizer.learning_rate
    write = SourceWriter()
    write("def learning_rates(epochs, steps):")
    match schedule:
        case Constant():
            what = "the same in all"
        case Step():
            what = f"times {schedule.gamma!r} from certain epochs on"
        case Cosine():
            what = "falling by half a cosine"
        case OneCycle():
            what = "up by half a cosine, and down by another"
    if schedule.warmup_epochs:
        what += f"; growing for the first {schedule.warmup_epochs:g} epochs"
    write(f'"""Return the rate of every step of all epochs, with so many each: {what}."""', 1)
    if isinstance(schedule, Constant) and not schedule.warmup_epochs:
        write(f"return np.full(epochs * steps, {rate!r})", 1)
        return write.text()
    write("step = np.arange(epochs * steps)", 1)
    progress = "step / len(step)"
    if schedule.warmup_epochs:
        write(f"warm = min(round({schedule.warmup_epochs!r} * steps), len(step))", 1)
        progress = "(step - warm) / max(len(step) - warm, 1)"
    write(_factor(schedule, progress), 1)
    if schedule.warmup_epochs:
        write("factor = np.where(step < warm, (step + 1) / max(warm, 1), factor)", 1)
    write(f"return {rate!r} * factor", 1)
    return write.text()


def _factor(schedule: Constant | Step | Cosine | OneCycle, progress: str) -> str:
    match schedule:
        case Constant():
            return "factor = np.ones(len(step))"
        case Step() as s:
            marks = ", ".join(map(repr, s.epochs)) + ("," if len(s.epochs) == 1 else "")
            return (
                "epoch = step / steps\n"
                f"factor = {s.gamma!r} ** sum((epoch >= at).astype(int) for at in ({marks}))"
            )
        case Cosine() as s:
            share = "(1 + np.cos(np.pi * progress)) / 2"
            whole = f"{s.final!r} + {1 - s.final!r} * {share}" if s.final else share
            return f"progress = {progress}\nfactor = {whole}"
        case OneCycle() as s:
            return (
                f"progress = {progress}\n"
                f"low, end = {1 / s.start!r}, {1 / (s.start * s.final)!r}\n"
                f"up = low + (1 - low) * (1 - np.cos(np.pi * progress / {s.peak!r})) / 2\n"
                f"down = (progress - {s.peak!r}) / {1 - s.peak!r}\n"
                "down = end + (1 - end) * (1 + np.cos(np.pi * down)) / 2\n"
                f"factor = np.where(progress < {s.peak!r}, up, down)"
            )
