from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from harness.errors import WorkerError
from harness.run import process
from harness.run.environment import worker_environment
from harness.run.guarded import Guardian
from harness.run.process import DeadlineWriter, WorkerProcess, first_to_answer
from harness.spec import initial_parameters, parse_spec

HERE = Path(__file__).parent
PATIENCE = 60.0  # far more than anything here takes
SPEC = parse_spec(
    'name = "small"\ninput = [2, 2, 1]\n'
    'layers = [{ type = "flatten" }, { type = "dense", units = 3 }]\n',
    "test",
)
SETTING = {"device": "cpu", "precision": "float32", "threads": 1}

Start = Callable[..., WorkerProcess]


@pytest.fixture
def environment(tmp_path, monkeypatch) -> dict[str, str]:
    monkeypatch.setenv("PYTHONPATH", str(HERE), prepend=os.pathsep)
    monkeypatch.setenv("FAKE_PIDS", str(tmp_path / "pids"))
    return worker_environment("stock", 1)


@pytest.fixture
def start(tmp_path, environment) -> Iterator[Start]:
    """Start workers; all are gone at the end."""
    workers = []

    def begin(label: str = "fake", cpus: int = 1) -> WorkerProcess:
        workers.append(WorkerProcess(label, tmp_path / f"{label}.log", environment, cpus))
        return workers[-1]

    yield begin
    for worker in workers:
        worker.kill()


def prepare(worker: WorkerProcess, deed: str = "", timeout: float = PATIENCE) -> dict:
    """Have the fake backend loaded, and make it do `deed` while it is."""
    variant = f"prepare:{deed}" if deed else ""
    fields, arrays = worker.ask(
        "prepare",
        target="fake_backends:FakeBackend",
        variant=variant,
        setting=SETTING,
        timeout=timeout,
    )
    assert arrays == {}
    return fields


def failure(worker: WorkerProcess, deed: str, timeout: float = PATIENCE) -> WorkerError:
    with pytest.raises(WorkerError) as caught:
        prepare(worker, deed, timeout)
    assert str(caught.value).startswith("fake: ")
    assert deed == "slander" or f"Log: {worker.log}" in str(caught.value)
    return caught.value


def is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def group(leader: int) -> list[int]:
    """The processes of a group that are alive."""
    return [pid for pid in psutil.pids() if is_alive(pid) and group_of(pid) == leader]


def group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def wait_for(condition: Callable[[], object]) -> bool:
    """Look again and again; give up in the end."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def pids(tmp_path: Path) -> list[int]:
    """The worker that hangs, and its child."""
    assert wait_for((tmp_path / "pids").exists)
    return [int(pid) for pid in (tmp_path / "pids").read_text().split()]


def test_a_whole_conversation(start, tmp_path):
    images = np.arange(20 * 4, dtype=np.float32).reshape(20, 2, 2, 1)
    for split in ("train", "test"):
        np.save(tmp_path / f"{split}_images.npy", images)
        np.save(tmp_path / f"{split}_targets.npy", np.zeros(20, np.int32))
    worker = start()
    answer = prepare(worker)
    assert answer["versions"] == {"fake": "1.0", "cpus": "1", "threads": "1"}
    assert answer["devices"] == [{"kind": "cpu", "name": "a fake one"}]
    assert 0 <= answer["seconds"] < PATIENCE

    source = tmp_path / "small_fake.py"
    opened, _ = worker.ask(
        "open",
        spec=SPEC.model_dump_json(),
        source=str(source),
        data=str(tmp_path),
        timeout=PATIENCE,
    )
    assert opened["seconds"] >= 0
    assert source.read_text() == "# small \n"

    parameters = initial_parameters(SPEC, 0)
    worker.ask("reset", parameters, seed=0, timeout=PATIENCE)
    _, state = worker.ask("state", timeout=PATIENCE)
    assert all(np.array_equal(state[path], value) for path, value in parameters.items())

    order = np.array([[0, 1], [18, 19], [4, 5]])
    rates = np.array([1.0, 0.5, 0.1])
    fields, arrays = worker.ask("train", {"order": order, "rates": rates}, timeout=PATIENCE)
    assert fields["seconds"] > 0
    assert arrays["losses"].tolist() == pytest.approx(images[order].mean((1, 2, 3, 4)) * rates)
    worker.close()
    assert worker.process.returncode == 0


def test_what_a_backend_prints_goes_to_the_log_and_never_into_the_pipe(start):
    worker = start()
    assert prepare(worker, "say")["versions"]["fake"] == "1.0"
    log = worker.log.read_text()
    for said in ("printed", "complained", "written past Python", "said by a child"):
        assert said in log
    assert prepare(worker)["versions"]["fake"] == "1.0"


def test_a_backend_that_raises_has_failed_and_can_be_asked_again(start):
    worker = start()
    error = failure(worker, "fail")
    assert error.status == "failed"
    assert "ValueError: a kernel of 3x3 is too small\nfor this. Log: " in str(error)
    assert "Traceback (most recent call last)" in worker.log.read_text()
    assert failure(worker, "memory").status == "out-of-memory"
    assert failure(worker, "cuda_memory").status == "out-of-memory"
    assert failure(worker, "tight").status == "failed"
    assert prepare(worker)["versions"]["fake"] == "1.0"


def test_a_question_that_makes_no_sense_is_answered_as_such(start):
    worker = start()
    with pytest.raises(WorkerError, match="ValueError: unknown command 'sing'"):
        worker.ask("sing", timeout=PATIENCE)
    with pytest.raises(WorkerError, match="No module named 'no_such_module'"):
        worker.ask(
            "prepare",
            target="no_such_module:Backend",
            variant="",
            setting=SETTING,
            timeout=PATIENCE,
        )
    with pytest.raises(WorkerError, match="KeyError: 'order'"):
        worker.ask("train", timeout=PATIENCE)
    assert prepare(worker)


ENDINGS = {
    "end": ("crashed", "the worker ended with exit code 3"),
    "leave": ("crashed", "the worker ended with exit code 7"),
    "segfault": ("crashed", "the worker was killed by SIGSEGV"),
    "killed": ("out-of-memory", "the worker was killed by SIGKILL (most likely by the kernel"),
    "stammer": ("out-of-memory", "not a message: it starts with b'HRN1"),
    "orphan": ("crashed", "the worker ended with exit code 5"),
}


@pytest.mark.parametrize(("deed", "ending"), ENDINGS.items(), ids=ENDINGS.keys())
def test_a_worker_that_ends_has_a_status_and_a_reason(start, deed, ending):
    worker = start()
    error = failure(worker, deed)
    assert (error.status, ending[1] in str(error)) == (ending[0], True), str(error)
    assert worker.process.returncode is not None
    assert wait_for(lambda: not group(worker.process.pid))


def test_the_last_lines_of_the_log_are_shown(start):
    worker = start()
    worker.log.write_text("".join(f"line {i}\n" for i in range(1000)))
    shown = str(failure(worker, "end")).splitlines()[1:]
    assert shown == [*(f"    line {i}" for i in range(989, 1000)), "    last words"]


def test_a_worker_that_cannot_even_start_shows_why(start, environment):
    environment["PYTHONPATH"] = str(HERE / "nowhere")
    environment["PYTHONHOME"] = str(HERE / "nowhere")
    error = failure(start(), "")
    assert error.status == "crashed"
    assert "encodings" in str(error)


@pytest.mark.parametrize(
    ("deed", "reason"),
    [
        ("babble", "not a message: it starts with b'0.123 images"),
        ("mistake", "answered another question than was asked"),
        ("shut", "the worker left its pipe unusable"),
    ],
)
def test_a_worker_that_answers_nonsense_is_ended(start, monkeypatch, deed, reason):
    monkeypatch.setattr(process, "LAST_SECONDS", 0.1)
    worker = start()
    error = failure(worker, deed)
    assert error.status == "crashed"
    assert reason in str(error)
    assert not is_alive(worker.process.pid)


def test_a_worker_that_does_not_answer_is_ended_with_all_its_children(start, tmp_path):
    worker = start()
    worker.send(
        "prepare", target="fake_backends:FakeBackend", variant="prepare:hang", setting=SETTING
    )
    both = pids(tmp_path)
    assert all(is_alive(pid) for pid in both)
    with pytest.raises(WorkerError) as caught:
        worker.receive(timeout=0.25)
    assert caught.value.status == "timed-out"
    assert str(caught.value) == (
        f"fake: no answer in 0.25 s; ended. A longer limit: --timeout. Log: {worker.log}"
    )
    assert wait_for(lambda: not any(is_alive(pid) for pid in both))
    assert worker.process.returncode == -signal.SIGTERM


def test_a_worker_that_was_ended_cannot_be_asked(start):
    worker = start()
    worker.kill()
    worker.kill()
    worker.close()
    with pytest.raises(WorkerError, match="the worker has been ended") as caught:
        worker.ask("memory", timeout=PATIENCE)
    assert caught.value.status == "crashed"


def test_a_worker_that_died_between_two_questions_has_crashed(start):
    worker = start()
    prepare(worker)
    os.kill(worker.process.pid, signal.SIGABRT)
    worker.process.wait(PATIENCE)
    error = failure(worker, "")
    assert error.status == "crashed"
    assert "the worker was killed by SIGABRT" in str(error)


def test_a_worker_is_idle_until_asked_and_ends_when_its_pipe_is_closed(start):
    worker = start()
    prepare(worker)
    worker.commands.close()
    assert worker.process.wait(PATIENCE) == 0


def test_a_worker_that_is_closed_is_gone_at_once_and_its_log_complete(start):
    worker = start()
    prepare(worker, "linger")
    started = time.monotonic()
    worker.close()
    assert time.monotonic() - started < process.END_SECONDS / 2
    assert worker.process.returncode == 0
    assert worker.log.read_text().endswith("not yet written")


def begin(worker: WorkerProcess, deed: str = "") -> WorkerProcess:
    variant = f"prepare:{deed}" if deed else ""
    target = "fake_backends:FakeBackend"
    worker.send("prepare", target=target, variant=variant, setting=SETTING)
    return worker


@pytest.mark.parametrize(("deed", "status"), [("", "ok"), ("end", "crashed")])
def test_of_several_workers_the_first_to_answer_or_to_end_is_found(start, deed, status):
    hanging, other = begin(start("hanging"), "hang"), begin(start("other"), deed)
    assert first_to_answer([hanging, other], PATIENCE) is other
    if status == "ok":
        assert other.receive(PATIENCE)[0]["versions"]["fake"] == "1.0"
    else:
        with pytest.raises(WorkerError) as caught:
            other.receive(PATIENCE)
        assert caught.value.status == status


def test_when_none_answers_the_one_that_was_asked_first_has_run_out_of_time(start):
    late = start("late")
    first = begin(start("first"), "hang")
    begin(late, "hang")
    started = time.monotonic()
    assert first_to_answer([late, first], 0.25) is first
    assert time.monotonic() - started < PATIENCE / 2
    with pytest.raises(WorkerError) as caught:
        first.receive(timeout=0.25)
    assert caught.value.status == "timed-out"
    assert is_alive(late.process.pid)


def test_ctrl_c_is_for_the_harness_alone(start):
    worker = start()
    prepare(worker)
    os.kill(worker.process.pid, signal.SIGINT)
    assert prepare(worker)["versions"]["fake"] == "1.0"
    assert os.getpgid(worker.process.pid) != os.getpgid(0)


PARENT = """
import sys, time
from pathlib import Path
from harness.run.environment import worker_environment
from harness.run.process import WorkerProcess
worker = WorkerProcess("fake", Path(sys.argv[1]), worker_environment("stock", 1), 1)
worker.send("prepare", target="fake_backends:FakeBackend", variant="prepare:hang",
            setting={"device": "cpu", "precision": "float32", "threads": 1})
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of a death")
def test_a_worker_ends_with_its_parent_even_in_the_midst_of_work(tmp_path, environment):
    command = [sys.executable, "-c", PARENT, str(tmp_path / "fake.log")]
    with subprocess.Popen(command, env=environment) as parent:
        worker, child = pids(tmp_path)
        assert is_alive(worker)
        parent.kill()
    assert wait_for(lambda: not is_alive(worker))
    os.kill(child, signal.SIGKILL)


def test_the_harness_sleeps_while_a_worker_works(start):
    worker = start()
    prepare(worker)
    before, started = time.process_time(), time.monotonic()
    prepare(worker, "doze")
    assert time.monotonic() - started >= 1.0
    assert time.process_time() - before < 0.3


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="there are no CPU masks")
def test_a_worker_may_use_as_many_cpus_as_it_is_given(start):
    available = len(os.sched_getaffinity(0))
    assert prepare(start("one", cpus=1))["versions"]["cpus"] == "1"
    assert prepare(start("all", cpus=999))["versions"]["cpus"] == str(available)


def test_no_descriptor_is_left_open(start):
    def descriptors() -> int:
        return psutil.Process().num_fds()

    before = descriptors()
    start().kill()
    worker = start("other")
    prepare(worker)
    worker.close()
    failure_of = start("fake")
    failure(failure_of, "end")
    assert descriptors() == before


def test_a_worker_that_reads_no_more_is_not_waited_for_beyond_the_limit(start, monkeypatch):
    """It has answered, and hangs then; the next question is larger than its pipe."""
    monkeypatch.setattr(process, "ASKED_SECONDS", 0.1)
    worker = start()
    prepare(worker)
    os.kill(worker.process.pid, signal.SIGSTOP)
    with pytest.raises(WorkerError, match=r"took no question in 0\.25 s; ended") as caught:
        worker.ask("reset", {"x": np.zeros(2**20)}, seed=0, timeout=0.25)
    assert caught.value.status == "timed-out"
    assert not is_alive(worker.process.pid)


def test_a_large_question_arrives_whole_at_a_worker_that_is_late(start):
    worker = start()
    sent = {"dense1.bias": np.arange(2.0**19)}
    prepare(worker)
    os.kill(worker.process.pid, signal.SIGSTOP)
    resuming = subprocess.Popen(["sh", "-c", f"sleep 0.3; kill -CONT {worker.process.pid}"])
    with pytest.raises(WorkerError, match="has no attribute 'session'"):
        worker.ask("reset", sent, seed=0, timeout=PATIENCE)
    assert resuming.wait(PATIENCE) == 0
    assert prepare(worker)["versions"]["fake"] == "1.0", "nothing of it is left in the pipe"


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="the end of a process is not told")
def test_whoever_ends_while_it_is_written_to_is_noticed_though_its_child_holds_the_pipe():
    reading, writing = os.pipe()
    sleeper = subprocess.Popen(["sleep", "600"])
    writer = DeadlineWriter(writing, os.pidfd_open(sleeper.pid))
    writer.deadline = time.monotonic() + 0.1
    with pytest.raises(TimeoutError):
        writer.write(bytes(2**20))
    sleeper.kill()
    writer.deadline = time.monotonic() + PATIENCE
    with pytest.raises(BrokenPipeError):
        writer.write(bytes(2**20))
    sleeper.wait()
    writer.close()
    writer.close()
    os.close(reading)
    assert writer.process is not None
    os.close(writer.process)


def test_signs_of_life_without_end_are_no_answer(start):
    worker = start()
    prepare(worker)
    error = failure(worker, "chirp", timeout=0.5)
    assert error.status == "timed-out"
    assert "no answer in 0.5 s; ended" in str(error)
    assert not is_alive(worker.process.pid)


def test_what_a_worker_says_of_its_failure_is_cut_and_its_status_is_one_of_two(start):
    error = failure(start(), "slander")
    assert error.status == "failed", "it said that it was planned"
    assert 10_000 <= len(str(error)) < 10_100
    str(error).encode()  # half a character, as JSON may hold, would be refused by every table


def test_a_worker_that_the_system_does_not_start_is_said_to_have_crashed(start, monkeypatch):
    start("other").kill()  # the guardian is there

    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    before = psutil.Process().num_fds()
    monkeypatch.setattr(process.subprocess, "Popen", refuse)
    with pytest.raises(WorkerError, match=r"cannot be started: .* unavailable") as caught:
        start()
    assert caught.value.status == "crashed"
    assert psutil.Process().num_fds() == before


def test_without_a_guardian_workers_are_started_and_the_next_one_gets_it(monkeypatch):
    guardian = Guardian()

    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with monkeypatch.context() as patched:
        patched.setattr(process.subprocess, "Popen", refuse)
        guardian.begins(2**22 + 1)
    assert guardian.process is None
    guardian.begins(2**22 + 2)
    first = guardian.process
    assert first is not None
    first.kill()
    first.wait()
    guardian.ended(2**22 + 1)
    assert guardian.process is not first
    assert guardian.process is not None
    assert guardian.process.stdin is not None
    guardian.process.stdin.close()
    assert guardian.process.wait(PATIENCE) == 0, "those numbers are no groups"
