"""`harness doctor`: each thing that can be wrong is found, named, and comes with what mends it."""

from __future__ import annotations

import json
import os
import sys
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest
from packaging.specifiers import SpecifierSet

from harness import registry
from harness.doctor import backends, diagnose, load, machine, packages, places
from harness.doctor.finding import Finding, all_well, size_of
from harness.doctor.groups import Allowed, allowed
from harness.doctor.load import Busy
from harness.registry import BackendInfo
from harness.show.doctor import doctor_lines

FLOW = Path(__file__).parents[1] / "flow"


def levels(found: list[Finding]) -> dict[str, str]:
    return {finding.subject: finding.level for finding in found}


def of(found: list[Finding], subject: str) -> Finding:
    (finding,) = [finding for finding in found if finding.subject == subject]
    return finding


def info(name: str, target: str = "", **changes) -> BackendInfo:
    fields = {"in_all": True, "missing": (), "versions": {}, "install": f"pip install {name}"}
    return BackendInfo(name, "", target or f"nowhere:{name}", **{**fields, **changes})


# Packages


def test_versions_are_set_beside_what_is_allowed_and_tested(tmp_path):
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("# tested\nnumpy==1.26.0\nTorch==2.13.0\n")
    found = packages.look_at_packages(constraints)
    python = of(found, "python")
    assert (python.level, python.facts["executable"]) == ("ok", sys.executable)
    assert of(found, "cnn-harness").facts["numpy"] == version("numpy")
    assert of(found, "torch").facts["tested"] == "2.13.0"
    assert "tested: 2.13.0" in of(found, "torch").said


def test_a_version_that_is_not_allowed_is_wrong_and_the_line_that_mends_it_is_given():
    too_new = packages.Needed("", "numpy", SpecifierSet("<1.0,>=0.5"))
    finding = packages._package(too_new, {})
    assert finding.level == "wrong"
    assert finding.said == f"{version('numpy')} (allowed: >=0.5,<1.0)"
    assert finding.mend == 'pip install "numpy>=0.5,<1.0"'


def test_a_missing_framework_is_a_note_and_none_at_all_is_wrong(monkeypatch):
    monkeypatch.setattr(packages, "installed_version", lambda name: None if name in GONE else "3.1")
    found = packages.look_at_packages()
    assert of(found, "torch").level == "note"
    assert of(found, "torch").mend == 'pip install "cnn-harness[torch]"'
    assert of(found, "frameworks").level == "wrong"


GONE = ("tensorflow", "keras", "torch", "jax", "flax", "optax")


def test_a_missing_package_that_is_always_needed_is_wrong(monkeypatch):
    known = packages.installed_version
    monkeypatch.setattr(
        packages, "installed_version", lambda name: None if name == "rich" else known(name)
    )
    finding = of(packages.look_at_packages(), "rich")
    assert (finding.level, finding.mend) == ("wrong", 'pip install "rich>=13"')


def test_where_there_is_no_checkout_nothing_is_said_of_tested_versions(tmp_path):
    assert packages.tested_versions(tmp_path / "constraints.txt") == {}


# Backends, in processes of their own


@pytest.fixture
def importable(monkeypatch):
    paths = [str(FLOW), str(FLOW.parents[1]), str(Path(__file__).parent)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))


def test_each_is_asked_in_a_worker_and_says_what_it_sees(importable):
    told: list[str] = []
    found = backends.look_at_backends([info("twin", "flow_fakes:Twin")], told.append)
    twin = of(found, "twin")
    assert twin.level == "ok"
    assert twin.facts["devices"]["cpu"] == "cpu"
    assert twin.facts["versions"]["numpy"] == version("numpy")
    assert twin.facts["import_seconds"] > 0
    assert told == ["importing twin"]


def test_an_import_that_fails_is_wrong_with_its_last_line(importable):
    broken = info("broken", "terminal_fakes:BrokenImport", install='pip install "cnn-harness[x]"')
    crashing = info("crashing", "terminal_fakes:CrashingImport")
    found = backends.look_at_backends([broken, crashing, info("twin", "flow_fakes:Twin")])
    assert levels(found) == {"broken": "wrong", "crashing": "wrong", "twin": "ok"}
    assert of(found, "broken").said == (
        "its import fails: ImportError: libfast.so.7: cannot open shared object file"
    )
    assert of(found, "broken").mend == 'pip install --force-reinstall "cnn-harness[x]"'
    assert "ended with exit code 7" in of(found, "crashing").said
    assert of(found, "crashing").said.endswith("illegal instruction, says the framework")


def test_a_gpu_that_no_framework_sees_is_wrong(monkeypatch):
    monkeypatch.setattr(backends, "may_have_gpu", lambda: True)
    monkeypatch.setattr(backends, "gpus", lambda: ({"name": "H100"},))
    blind = Finding("backends", "torch", "note", "", "a CUDA build", {"devices": {"cpu": "cpu"}})
    seeing = Finding("backends", "jax", "ok", "", "", {"devices": {"cpu": "", "gpu": "H100"}})
    assert backends._no_gpu([blind, seeing]) == []
    (finding,) = backends._no_gpu([blind])
    assert (finding.level, finding.mend) == ("wrong", "a CUDA build")
    assert "H100" in finding.said


def test_what_is_not_installed_is_a_note_and_what_does_not_load_is_wrong():
    absent = info("absent", missing=("absent",))
    found = backends.missing_backends([(absent, ""), (info("bad", error="SyntaxError: x"), "")])
    assert levels(found) == {"absent": "note", "bad": "wrong"}
    assert of(found, "absent").said == "absent not installed"


# Machine


def test_a_control_group_that_allows_less_time_than_there_are_cores_is_wrong(monkeypatch):
    monkeypatch.setattr(machine, "available_cpus", lambda: 4)
    finding = of(machine.look_at_machine(Allowed(cores=1.5)), "cores")
    assert finding.level == "wrong"
    assert finding.mend.startswith("--threads 1,")
    assert of(machine.look_at_machine(Allowed(cores=4.0)), "cores").level == "ok"
    assert of(machine.look_at_machine(Allowed()), "cores").level == "ok"


@pytest.mark.parametrize(("free", "level"), [(1e9, "wrong"), (4e9, "note"), (9e9, "ok")])
def test_memory_is_what_the_machine_and_the_group_have_left(monkeypatch, free, level):
    memory = type("Memory", (), {"available": int(2e10), "total": int(3e10)})
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    group = Allowed(memory=int(1e10), used=int(1e10 - free))
    finding = of(machine.look_at_machine(group), "memory")
    assert (finding.level, finding.facts["free"]) == (level, free)


def test_a_disk_without_room_or_that_may_not_be_written_to_is_wrong(tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": int(5e8)})
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: usage)
    (finding,) = machine._disk("results", tmp_path / "to" / "come", "--out")
    assert (finding.level, finding.mend) == ("wrong", "--out")
    monkeypatch.setattr(machine.os, "access", lambda *_: False)
    (finding,) = machine._disk("results", tmp_path, "--out")
    assert finding.said == f"{tmp_path} may not be written to"


def test_a_clock_that_follows_the_load_is_a_note(tmp_path):
    for number, governor in enumerate(("performance", "powersave")):
        folder = tmp_path / f"cpu{number}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_governor").write_text(f"{governor}\n")
    (found, *_) = machine._frequency(tmp_path)
    assert (found.level, found.mend) == ("note", "sudo cpupower frequency-set -g performance")
    (tmp_path / "cpu1" / "cpufreq" / "scaling_governor").write_text("performance\n")
    assert next(machine._frequency(tmp_path)).level == "ok"


def group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_limits_of_a_control_group_are_read_in_version_2_and_the_tightest_counts(tmp_path):
    group(tmp_path, cpu__max="max 100000\n")
    group(tmp_path / "a", cpu__max="150000 100000\n", memory__max="8000\n", memory__current="10\n")
    group(tmp_path / "a/b", cpu__max="300000 100000\n", memory__max="max\n", memory__current="5\n")
    (tmp_path / "own").write_text("0::/a/b\n")
    assert allowed(tmp_path, tmp_path / "own") == Allowed(1.5, 8000, 10)


def test_limits_of_a_control_group_are_read_in_version_1(tmp_path):
    group(tmp_path / "cpu", cpu__cfs_quota_us="50000\n", cpu__cfs_period_us="100000\n")
    files = {"memory__limit_in_bytes": "4000\n", "memory__usage_in_bytes": "100\n"}
    group(tmp_path / "memory", **files)
    (tmp_path / "own").write_text("4:cpu,cpuacct:/docker/x\n2:memory:/docker/x\n")
    assert allowed(tmp_path, tmp_path / "own") == Allowed(0.5, 4000, 100)
    group(tmp_path / "cpu", cpu__cfs_quota_us="-1\n")
    group(tmp_path / "memory", memory__limit_in_bytes=f"{2**63 - 4096}\n")
    assert allowed(tmp_path, tmp_path / "own") == Allowed()


def test_a_machine_without_control_groups_has_no_limits(tmp_path):
    assert allowed(tmp_path / "nowhere", tmp_path / "nothing") == Allowed()


# Load


def looked(*busy: Busy, stolen: float = 0.0) -> list[Finding]:
    return load.look_at_load(lambda: (list(busy), stolen))


def test_a_neighbour_is_named(monkeypatch):
    found = looked(Busy(7, "ffmpeg", 0.9), Busy(8, "cron", 0.01))
    finding = of(found, "neighbours")
    assert finding.level == "wrong"
    assert "ffmpeg (process 7) 0.9" in finding.said
    assert of(looked(Busy(8, "cron", 0.01)), "neighbours").level == "ok"


@pytest.mark.parametrize(
    ("command", "is_run"),
    [
        ("python -m harness run --backend all", True),
        ("/home/x/.venv/bin/python /home/x/.venv/bin/harness ab torch flax", True),
        ("python -m harness backends", False),
        ("python -m pytest tests/run", False),
        ("vim harness run", False),
        ("harness", False),
    ],
)
def test_another_run_is_found_by_its_command(command, is_run):
    found = looked(Busy(9, "python", 0.0, tuple(command.split())))
    finding = of(found, "another run")
    assert finding.level == ("wrong" if is_run else "ok")
    if is_run:
        assert finding.mend == "wait for its end, or: kill 9"
        assert f"python -m harness {command.split('harness ')[-1]}" in finding.said


def test_the_workers_of_another_run_count_as_part_of_it():
    worker = Busy(10, "python", 0.8, ("python", "-m", "harness.run.worker", "5", "6", "2", "9"))
    found = looked(Busy(9, "python", 0.1, ("python", "-m", "harness", "run")), worker)
    assert levels(found) == {"another run": "wrong", "neighbours": "ok"}


def test_time_that_the_host_takes_is_wrong():
    assert levels(looked(stolen=0.2))["host"] == "wrong"
    assert "host" not in levels(looked(stolen=0.001))


def test_the_machine_is_really_watched(monkeypatch):
    monkeypatch.setattr(load, "SECONDS", 0.05)
    processes, stolen = load.watch_processes()
    assert os.getpid() not in {busy.pid for busy in processes}
    assert 0 <= stolen <= 1


# Environment, data, caches


def test_variables_of_one_s_own_that_change_what_is_measured_are_named():
    own = {
        "OMP_WAIT_POLICY": "ACTIVE",
        "MALLOC_TRIM_THRESHOLD_": "0",
        "XLA_FLAGS": "--xla_mine",
        "LD_PRELOAD": "/usr/lib/libjemalloc.so.2",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    flax = info("flax", tuned={"XLA_FLAGS": "--xla_ours"})
    found = places.look_at_environment([flax], own)
    assert levels(found) == {
        "OMP_WAIT_POLICY": "wrong",
        "allocator": "note",
        "MALLOC_TRIM_THRESHOLD_": "note",
        "XLA_FLAGS": "note",
        "CUDA_VISIBLE_DEVICES": "note",
        "PYTHONDONTWRITEBYTECODE": "note",
    }
    assert of(found, "OMP_WAIT_POLICY").mend == "unset OMP_WAIT_POLICY"
    silent = {"OMP_WAIT_POLICY": "passive", "KMP_BLOCKTIME": "0"}
    assert all_well(places.look_at_environment([], silent))


def test_a_folder_of_data_that_is_not_there_or_holds_none_is_wrong(here, monkeypatch):
    assert all_well(places.look_at_data({}))
    for folder in ("nowhere", "."):
        monkeypatch.setenv("HARNESS_DATA", folder)
        finding = of(places.look_at_data(os.environ), "HARNESS_DATA")
        assert finding.level == "wrong"
        assert "export HARNESS_DATA=FOLDER" in finding.mend


def test_caches_have_sizes_and_one_that_cannot_be_used_is_wrong(here, monkeypatch):
    assert all_well(places.look_at_caches())
    folder = places.cache_folder()
    (folder / "arrays").mkdir(parents=True)
    (folder / "arrays" / "x.npy").write_bytes(bytes(2500))
    found = places.look_at_caches()
    assert of(found, "arrays").facts["bytes"] == 2500
    assert of(found, "arrays").said.startswith("2.5 kB in ")
    monkeypatch.setattr(places.os, "access", lambda *_: False)
    (finding,) = places.look_at_caches()
    assert (finding.level, finding.mend.startswith("chmod u+w ")) == ("wrong", True)


# All of it


@pytest.fixture
def looks(monkeypatch):
    """Put findings in the place of what is looked at."""

    def put(*findings: Finding) -> None:
        for name in ("packages", "machine", "load", "environment", "data", "caches", "backends"):
            monkeypatch.setattr(diagnose, f"look_at_{name}", lambda *_, name=name: [])
        monkeypatch.setattr(diagnose, "look_at_packages", lambda: list(findings))
        monkeypatch.setattr(registry, "describe", lambda: [info("twin", "flow_fakes:Twin")])

    return put


WELL = Finding("packages", "python", "ok", "3.11.9")
NOTED = Finding("packages", "torch", "note", "not installed", 'pip install "cnn-harness[torch]"')
WRONG = Finding("machine", "memory", "wrong", "1 GB of 2 GB free", "end other programs")


def test_all_well_is_exit_code_0_and_anything_wrong_1(harness, looks):
    looks(WELL, NOTED)
    said = harness("doctor", "--quiet")
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines() == [
        "packages",
        "  ok     python  3.11.9",
        "  note   torch   not installed",
        '                 Try: pip install "cnn-harness[torch]"',
        "",
        "All well: 2 looked at, 1 worth a note.",
    ]
    looks(WELL, WRONG)
    said = harness("doctor")
    assert said.code == 1
    assert said.out.splitlines()[-1] == "1 thing is wrong: memory; 2 looked at."
    assert "watching the machine" in said.err


def test_json_has_every_finding_and_nothing_else_is_printed(harness, looks):
    looks(WELL, WRONG)
    said = harness("doctor", "--json")
    assert said.code == 1
    report = json.loads(said.out)
    assert report["ok"] is False
    assert report["findings"] == [WELL.as_json(), WRONG.as_json()]


def test_an_unknown_backend_is_wrong_usage_and_one_that_is_missing_is_wrong(harness, looks):
    looks(WELL)
    said = harness("doctor", "-b", "twim")
    assert said.code == 2
    assert "Did you mean 'twin'?" in said.err
    found = diagnose._backends("absent", [info("absent", missing=("absent",))], lambda _: None)
    assert levels(found) == {"absent": "wrong"}


def test_every_wrong_or_noted_finding_comes_with_what_mends_it(monkeypatch, here):
    monkeypatch.setattr(load, "SECONDS", 0.05)
    monkeypatch.setattr(registry, "describe", list)
    monkeypatch.setattr(diagnose, "_backends", lambda *_: [])
    found = diagnose.diagnose()
    assert {finding.part for finding in found} >= {
        "packages",
        "machine",
        "load",
        "environment",
        "data",
        "cache",
    }
    assert [finding for finding in found if finding.level != "ok" and not finding.mend] == []


def test_markup_in_what_is_found_is_shown_as_it_is():
    lines = [*doctor_lines([Finding("cache", "[images]", "ok", "pillow [red]")])]
    assert lines[1].plain == "  ok     [images]  pillow [red]"


@pytest.mark.parametrize(
    ("size", "shown"),
    [(10, "10 bytes"), (2500, "2.5 kB"), (3e6, "3.0 MB"), (1.2e13, "12,000.0 GB")],
)
def test_sizes_are_shown_in_the_unit_that_suits_them(size, shown):
    assert size_of(size) == shown
