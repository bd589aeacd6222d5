from __future__ import annotations

import json
import os
import platform
import socket
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

import harness
from harness import machine

FACTS = {
    "cpu": "AMD EPYC 9R14",
    "cpu_generation": "25.17 avx512f",
    "cpus": 8,
    "cpus_available": 2,
    "architecture": "x86_64",
    "memory_bytes": 33_000_000_000,
    "gpus": [{"name": "NVIDIA H100", "memory_bytes": 85_899_345_920, "driver": "570.1"}],
    "system": "Linux 6.1",
    "python": "3.11.7",
    "harness": "0.1.0",
}
KEY = machine.machine_key(FACTS)


@pytest.fixture
def smi(tmp_path, monkeypatch):
    """An nvidia-smi that prints what it is given; answers are not remembered between tests."""

    def answer(text: str, code: int = 0) -> None:
        (tmp_path / "answer").write_text(text)
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\ncat {tmp_path}/answer\nexit {code}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    machine.gpus.cache_clear()
    yield answer
    machine.gpus.cache_clear()


def test_the_key_is_twelve_hex_digits_and_stays_what_it_is():
    assert len(bytes.fromhex(KEY)) == 6
    assert machine.machine_key(dict(reversed(FACTS.items()))) == KEY
    assert KEY == "bffdf8d663a2"


@pytest.mark.parametrize(
    "change",
    [
        {"cpu": "AMD EPYC 7R32"},
        {"cpu_generation": "25.1 avx2"},
        {"cpus_available": 4},
        {"architecture": "aarch64"},
        {"memory_bytes": 66_000_000_000},
        {"gpus": []},
        {"gpus": [{"name": "NVIDIA H200"}]},
        {"gpus": FACTS["gpus"] * 2},
    ],
)
def test_another_cpu_count_memory_class_architecture_or_gpu_is_another_machine(change):
    assert machine.machine_key({**FACTS, **change}) != KEY


@pytest.mark.parametrize(
    "change",
    [
        {"system": "Linux 6.2"},
        {"python": "3.13.0"},
        {"harness": "9.9"},
        {"cpus": 16},
        {"memory_bytes": 33_500_000_000},
        {"gpus": [{"name": "NVIDIA H100", "memory_bytes": 1, "driver": "580.2"}]},
        {"host": "build-17"},
    ],
)
def test_versions_drivers_and_a_few_megabytes_do_not_make_another_machine(change):
    assert machine.machine_key({**FACTS, **change}) == KEY


def test_memory_is_of_the_class_of_the_next_power_of_two():
    sizes = {
        gigabytes: machine.machine_key({**FACTS, "memory_bytes": round(gigabytes * 2**30)})
        for gigabytes in (15.3, 15.6, 16, 16.1, 31, 32, 62.8)
    }
    assert sizes[15.3] == sizes[15.6] == sizes[16]
    assert sizes[16.1] == sizes[31] == sizes[32]
    assert len(set(sizes.values())) == 3


def test_a_machine_is_described_by_what_is_worth_knowing():
    facts = machine.describe_machine()
    assert list(facts) == ["machine_key", *FACTS]
    assert facts["machine_key"] == machine.machine_key(facts)
    assert facts["cpu"]
    assert 1 <= facts["cpus_available"] <= facts["cpus"]
    assert facts["memory_bytes"] == psutil.virtual_memory().total
    assert facts["architecture"] == platform.machine()
    assert facts["python"] == platform.python_version()
    assert facts["harness"] == harness.__version__
    assert json.loads(json.dumps(facts)) == facts


X86 = """\
processor\t: 0
cpu family\t: 26
model\t\t: 2
model name\t: AMD EPYC
flags\t\t: fpu sse4_2 avx avx2 avx512f

processor\t: 1
cpu family\t: 25
"""
ARM = "processor\t: 0\nFeatures\t: fp asimd sve\nCPU architecture: 8\nCPU part\t: 0xd40\n"


@pytest.mark.parametrize(
    ("text", "generation"),
    [
        (X86, "26.2 avx512f"),
        (X86.replace("avx512f", ""), "26.2 avx2"),
        (ARM, "8.0xd40 sve"),
        ("", ""),
    ],
)
def test_cpus_of_one_name_are_told_apart_by_generation(tmp_path, monkeypatch, text, generation):
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    assert machine.cpu_generation() == ""
    machine.CPUINFO.write_text(text)
    assert machine.cpu_generation() == generation


def test_the_description_is_the_same_every_time():
    assert machine.describe_machine() == machine.describe_machine()


def test_the_description_has_no_host_name_and_asks_for_none(monkeypatch):
    hosts = {socket.gethostname(), platform.node(), socket.getfqdn()}

    def fail() -> str:
        raise AssertionError("the host's name was asked for")

    monkeypatch.setattr(socket, "gethostname", fail)
    monkeypatch.setattr(platform, "node", fail)
    values = json.dumps(list(machine.describe_machine().values()))
    assert not any(host in values for host in hosts if len(host) > 5)


def test_every_process_of_this_machine_finds_the_same_key():
    script = (
        "from harness.machine import describe_machine; print(describe_machine()['machine_key'])"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "HOSTNAME": "elsewhere"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.strip() == machine.describe_machine()["machine_key"]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="there are no CPU masks")
def test_the_cpus_that_count_are_those_this_process_may_use():
    mask = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(mask)})
    try:
        assert machine.available_cpus() == 1
    finally:
        os.sched_setaffinity(0, mask)
    assert machine.available_cpus() == len(mask)


def test_gpus_are_listed_with_memory_in_bytes_and_driver(smi):
    smi("NVIDIA H100 80GB HBM3, 81559, 570.86.15\nTesla T4, [N/A], 570.86.15\n")
    assert machine.gpus() == (
        {"name": "NVIDIA H100 80GB HBM3", "memory_bytes": 81559 * 2**20, "driver": "570.86.15"},
        {"name": "Tesla T4", "memory_bytes": None, "driver": "570.86.15"},
    )
    assert machine.may_have_gpu()
    names = [gpu["name"] for gpu in machine.describe_machine()["gpus"]]
    assert names == ["NVIDIA H100 80GB HBM3", "Tesla T4"]


@pytest.mark.parametrize(
    ("text", "code"),
    [("", 0), ("No devices were found\n", 0), ("NVIDIA-SMI has failed\n", 9), ("a, 1, 2\n", 1)],
)
def test_a_driver_without_devices_is_no_gpu(smi, text, code):
    smi(text, code)
    assert machine.gpus() == ()


def test_a_machine_without_a_driver_has_no_gpu(smi, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.gpus() == ()


def test_the_commit_is_that_of_the_checkout_or_nothing(monkeypatch):
    machine.commit.cache_clear()
    head, dirty = machine.commit()
    assert (len(head), type(dirty)) in ((40, bool), (0, type(None)))
    machine.commit.cache_clear()
    monkeypatch.setenv("PATH", "/nowhere")
    assert machine.commit() == ("", None)
    machine.commit.cache_clear()


def test_the_cpu_has_a_name_where_the_kernel_gives_none(monkeypatch):
    def fail(self: Path, *_: object, **__: object) -> str:
        raise OSError

    monkeypatch.setattr(Path, "read_text", fail)
    assert machine.cpu_model()
