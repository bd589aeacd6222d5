"""The suite for authors of backends: the toy passes, and every test of it can fail."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from check_climb import PYTHONPATH
from toy_contract import FAULTS

from harness.testing import BackendContract

FILE = Path(__file__).with_name("toy_contract.py")
TESTS = {name for name in vars(BackendContract) if name.startswith("test_")}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> dict[tuple[str, str], str]:
    """What each test said, by class and name; "" where it passed."""
    report = tmp_path_factory.mktemp("suite") / "report.xml"
    wanted = [f"{FILE}::Test{mistake.split()[0]}::{test}" for mistake, (test, _) in FAULTS.items()]
    subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *(f"--junitxml={report}", f"{FILE}::TestHonest", *wanted),
        ],
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
        capture_output=True,
        check=False,
    )
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        failures = [*case.iter("failure"), *case.iter("error")]
        text = "\n".join(f"{one.get('message')}\n{one.text}" for one in failures)
        found[case.get("classname", "").rpartition(".")[2], case.get("name", "")] = text
    return found


def test_the_toy_does_all_that_a_backend_must_do(outcomes):
    found = {test: text for (kind, test), text in outcomes.items() if kind == "TestHonest"}
    assert {test.partition("[")[0] for test in found} == TESTS
    assert {test: text for test, text in found.items() if text} == {}
    assert "test_it_is_the_same_network_as_the_reference[norms]" in found


@pytest.mark.parametrize("mistake", FAULTS)
def test_a_mistake_is_noticed_by_the_test_that_is_there_for_it(outcomes, mistake):
    test, said = FAULTS[mistake]
    text = outcomes[f"Test{mistake.split()[0]}", test]
    assert text, "nothing was noticed"
    assert said in text


def test_every_test_of_the_suite_has_a_mistake_that_it_notices():
    assert {test.partition("[")[0] for test, _ in FAULTS.values()} == TESTS


def test_without_pytest_the_suite_says_what_it_needs():
    code = "import sys; sys.modules['pytest'] = None; import harness; import harness.testing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "harness.testing needs pytest. Try: pip install pytest" in done.stderr
