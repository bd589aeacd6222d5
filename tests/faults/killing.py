"""Kill runs at random moments with SIGKILL, and see that nothing is lost and that they go on.

    python tests/faults/killing.py --kills 200 --seed 1
    python tests/faults/killing.py --kills 2000 --seed 1 --fake

A run of two backends and three seeds is killed; a third of those that go on are killed again.
After each kill: what was written is read by the ordinary readers; of each worker, every block but
the last that it had begun is on disk; no worker is left. At the end of each: both tables are those
of a run that was left in peace, but for timings.

With --fake, workers answer at once from within the harness's process, so that a run takes a tenth
of a second, nearly all of it the harness's own, and most kills fall into its writing.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

from fault_runs import Counting, begun_blocks, go, is_alive, paths, stored_blocks, tables  # noqa: E402

from benchmarks.fakes import fake_workers  # noqa: E402
from harness.errors import UsageError  # noqa: E402
from harness.run import guarded  # noqa: E402
from harness.run.folder import read_rows  # noqa: E402
from harness.run.listener import Progress  # noqa: E402
from harness.verdict.files import read_side  # noqa: E402

SEEDS = 3
PATIENCE = 300.0
FAKE = "FAULT_FAKE"  # set where workers are fake


class Noting(Counting):
    """Notes each block that is reported where a death of this process does not reach it."""

    def __init__(self, log: Path) -> None:
        self.file = os.open(log / f"blocks-{os.getpid()}", os.O_CREAT | os.O_APPEND | os.O_WRONLY)

    def trained(self, progress: Progress) -> None:
        os.write(self.file, f"{progress.label} {progress.seed}\n".encode())


def begin(out: Path, resume: bool) -> int:
    """Start the run in a process of its own, in which all is imported already."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.setsid()
        guarded.GUARDIAN.__init__()
        with fake_workers() if os.environ.get(FAKE) else nullcontext():
            go(out, resume=resume, seeds=SEEDS, listener=Noting(Path(os.environ["FAULT_LOG"])))
        code = 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)


def written(out: Path) -> int:
    """How many bytes of journal and samples there are."""
    return sum(
        p.stat().st_size for n in ("journal.jsonl", "samples.csv") if (p := out / n).exists()
    )


def kill(child: int, out: Path, moment: int, delay: float) -> bool:
    """Kill it a little after it has written so much; return whether it was still there."""
    deadline = time.monotonic() + PATIENCE
    while written(out) < moment and time.monotonic() < deadline:
        if os.waitpid(child, os.WNOHANG)[0]:
            return False
        time.sleep(0.0003 if os.environ.get(FAKE) else 0.003)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def check(out: Path, log: Path) -> int:
    """See what a killed run left; return how many blocks there are."""
    deadline = time.monotonic() + PATIENCE
    while alive := [p for p in map(pid_of, log.iterdir()) if is_alive(p)]:
        assert time.monotonic() < deadline, f"still alive: {alive}"
        time.sleep(0.01)
    if (out / "summary.csv").exists():
        assert len(read_rows(out / "summary.csv")) == 2 * SEEDS
        assert read_side(out)
    if (out / "samples.csv").exists():
        read_rows(out / "samples.csv")
    blocks = 0
    for (backend, seed), count in reported(log).items():
        blocks += count
        found = stored_blocks(out, backend, seed, ["train"])
        assert count <= found, (backend, seed, count, found)
    for (backend, seed), begun in begun_blocks(log).items():
        stored = stored_blocks(out, backend, seed)
        finished = sum(max(count - 1, 0) for count in begun)
        most = sum(begun) if seed else stored  # the first seed's may have the warm-up's besides
        assert finished <= stored <= most, (backend, seed, begun, stored)
    return blocks


def reported(log: Path) -> Counter[tuple[str, int]]:
    """How many blocks were said to be measured, by backend and seed, by all runs of a folder."""
    lines = (line for path in log.glob("blocks-*") for line in path.read_text().splitlines())
    return Counter((line.split()[0], int(line.split()[1])) for line in lines)


def pid_of(path: Path) -> int:
    return int(path.name.rpartition("-")[2])


def one(place: Path, whole: dict, size: int, rng: random.Random) -> tuple[int, int]:
    """Kill a run once, or more often, and have it go on to its end; return kills and blocks."""
    out, log = place / "out", place / "log"
    log.mkdir(parents=True)
    os.environ["FAULT_LOG"] = str(log)
    kills = blocks = 0
    resume = False
    while True:
        child = begin(out, resume)
        if kills == 0 or rng.random() < 1 / 3:
            moment = int(rng.uniform(written(out) if resume else 0, size))
            if kill(child, out, moment, rng.choice([0.0, rng.uniform(0, 0.1)])):
                kills += 1
                blocks += check(out, log)
            elif kills == 0:  # it came to its end first
                break
        else:
            _, status = os.waitpid(child, 0)
            assert os.waitstatus_to_exitcode(status) == 0, "it could not go on"
            break
        resume = has_begun(out)
        if not resume:  # killed before there was anything to go on with
            shutil.rmtree(out, ignore_errors=True)
    assert tables(out) == whole, "the tables are others"
    return kills, blocks


def has_begun(out: Path) -> bool:
    try:
        return bool(json.loads((out / "journal.jsonl").read_bytes().partition(b"\n")[0]))
    except (OSError, ValueError):
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fake", action="store_true", help="workers that answer at once")
    arguments = parser.parse_args()
    os.environ["PYTHONPATH"] = paths()
    if arguments.fake:
        os.environ[FAKE] = "1"
    rng, kills, runs, blocks = random.Random(arguments.seed), 0, 0, 0
    with tempfile.TemporaryDirectory(prefix="killing-") as folder:
        place = Path(folder)
        (place / "log").mkdir()
        os.environ["FAULT_LOG"] = str(place / "log")
        _, status = os.waitpid(begin(place / "whole", resume=False), 0)
        assert status == 0, "the run that is left in peace failed"
        whole, size = tables(place / "whole"), written(place / "whole")
        while kills < arguments.kills:
            more, found = one(place / str(runs), whole, size, rng)
            kills, runs, blocks = kills + more, runs + 1, blocks + found
            shutil.rmtree(place / str(runs - 1), ignore_errors=True)
            print(f"{kills} kills, {runs} runs, {blocks} blocks read, all well", flush=True)


if __name__ == "__main__":
    try:
        main()
    except UsageError as error:
        sys.exit(str(error))
