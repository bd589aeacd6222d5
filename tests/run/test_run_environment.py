from __future__ import annotations

import pytest

from harness.run.environment import worker_environment

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
ALLOCATOR = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_")
SWITCHES = ("GLIBC_TUNABLES", "TF_ENABLE_ONEDNN_OPTS")


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    """Nothing set that the tests are about."""
    others = "OMP_WAIT_POLICY KMP_BLOCKTIME TF_CPP_MIN_LOG_LEVEL".split()
    for name in (*THREADS, *ALLOCATOR, *SWITCHES, *others):
        monkeypatch.delenv(name, raising=False)


def test_the_whole_environment_of_the_user_is_handed_on(monkeypatch):
    monkeypatch.setenv("SOME_VARIABLE", "some value")
    found = worker_environment("stock", 1)
    assert found["SOME_VARIABLE"] == "some value"
    assert "PATH" in found


@pytest.mark.parametrize("name", ["stock", "tuned"])
def test_idle_workers_sleep_and_share_the_gpu(name):
    found = worker_environment(name, 2)
    assert found["OMP_WAIT_POLICY"] == "PASSIVE"
    assert found["KMP_BLOCKTIME"] == "0"
    assert found["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    assert found["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"


def test_only_the_tuned_environment_sets_the_allocator_and_onednn():
    stock, tuned = worker_environment("stock", 1), worker_environment("tuned", 1)
    assert set(tuned) - set(stock) == {*ALLOCATOR, *SWITCHES}
    assert all(int(tuned[name]) > 2**20 for name in ALLOCATOR)
    assert {name: tuned[name] for name in stock} == stock


def test_a_backends_own_variables_are_set_in_the_tuned_environment_unless_the_user_does(
    monkeypatch,
):
    own = {"SOME_FLAGS": "--fast"}
    assert "SOME_FLAGS" not in worker_environment("stock", 1, own)
    assert worker_environment("tuned", 1, own)["SOME_FLAGS"] == "--fast"
    monkeypatch.setenv("SOME_FLAGS", "--mine")
    assert worker_environment("tuned", 1, own)["SOME_FLAGS"] == "--mine"


def test_what_the_user_has_set_wins_over_what_we_would_choose(monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    monkeypatch.setenv("MALLOC_TOP_PAD_", "1")
    found = worker_environment("tuned", 1)
    assert found["OMP_WAIT_POLICY"] == "ACTIVE"
    assert found["TF_CPP_MIN_LOG_LEVEL"] == "0"
    assert found["MALLOC_TOP_PAD_"] == "1"


def test_the_threads_asked_for_win_over_everything(monkeypatch):
    for name in THREADS:
        monkeypatch.setenv(name, "7")
    found = worker_environment("stock", 3)
    assert {found[name] for name in THREADS} == {"3"}
