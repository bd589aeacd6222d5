"""SIGTERM and SIGHUP end the harness as Ctrl-C does: nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from harness import cli
from harness.errors import Interrupted
from harness.run.signals import Ended, in_order

WAITING = """
import sys, time
from harness.run.checkout import checkout
from harness.run.signals import in_order
with in_order(), checkout("HEAD", "--checkout-a") as place:
    print(place, flush=True)
    time.sleep(120)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_signal_is_raised_and_afterwards_means_what_it_did(number):
    before = signal.getsignal(number)
    with in_order() as came, pytest.raises(Ended, match=number.name):
        os.kill(os.getpid(), number)
    assert came == [number]
    assert signal.getsignal(number) == before


def test_what_is_ignored_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with in_order() as came:
            os.kill(os.getpid(), signal.SIGHUP)
        assert came == []
    finally:
        signal.signal(signal.SIGHUP, before)


def test_in_another_thread_nothing_is_changed():
    seen = []

    def look():
        with in_order():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_the_exit_code_of_every_command_is_the_signal_s(monkeypatch, number, code):
    def app(**_):
        try:
            os.kill(os.getpid(), number)
        except KeyboardInterrupt:
            raise Interrupted("interrupted") from None

    monkeypatch.setattr(cli, "app", app)
    with pytest.raises(SystemExit) as ended:
        cli.main([])
    assert ended.value.code == code


def test_a_checkout_is_gone_after_sigterm(tmp_path):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "-m", "first"], check=True)
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    place = Path(process.stdout.readline().strip())
    assert place.is_dir()
    process.terminate()
    process.wait(60)
    process.stdout.close()
    assert not place.parent.exists()
    kept = subprocess.run([*git, "worktree", "list"], check=True, capture_output=True, text=True)
    assert len(kept.stdout.splitlines()) == 1
