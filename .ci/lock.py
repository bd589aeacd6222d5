"""Write requirements.lock: every package of constraints.txt with the hashes of its wheels.

And those that they need on Linux, but not where the tests were run: the CUDA libraries of PyTorch.

    python .ci/lock.py constraints.txt requirements.lock
    python .ci/lock.py --check constraints.txt requirements.lock   # only see that it is of these

For each Python below, pip is asked which file it would install on Linux x86-64, and for the SHA-256
of that; nothing is installed. The lock names versions and hashes and no place: where the files come
from is pip's own configuration, and that they are the same is what the hashes are for.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PYTHONS = ("3.11.14", "3.12.12", "3.13.9")  # the newest of each, as some packages refuse the first
# glibc 2.28 and all older ones: pip takes those that are named, and no others.
PLATFORMS = (
    *(f"manylinux_2_{minor}_x86_64" for minor in range(28, 4, -1)),
    *("manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64"),
)
HEAD = """\
# The packages of constraints.txt, and what they need besides, with the hashes of their wheels, for
# Python {pythons} on Linux x86-64. Made by `make lock`. To install exactly these:
#   pip install --require-hashes --no-deps --only-binary :all: -r requirements.lock
#   pip install --no-deps -e .
"""


def pins(path: Path) -> list[str]:
    """Return the lines `name==version`."""
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    return [line for line in lines if line]


def canonical(pin: str) -> str:
    """Return a pin as an index knows it, whatever its capitals and dashes."""
    name, _, version = pin.partition("==")
    return f"{re.sub(r'[-_.]+', '-', name).lower()}=={version}"


def hashes(wanted: list[str], python: str) -> dict[str, set[str]]:
    """Return the SHA-256 of the wheel that pip would install, by `name==version`."""
    with tempfile.TemporaryDirectory() as folder:
        requirements, report = Path(folder) / "in.txt", Path(folder) / "report.json"
        requirements.write_text("\n".join(wanted))
        command = [
            *(sys.executable, "-m", "pip", "install", "--dry-run", "--quiet"),
            *("--ignore-installed", "--only-binary", ":all:", "--target", folder),
            *("--python-version", python, "--report", str(report), "-r", str(requirements)),
        ]
        for platform in PLATFORMS:
            command += ["--platform", platform]
        subprocess.run(command, check=True)
        found = json.loads(report.read_text())["install"]
    return {
        f"{entry['metadata']['name']}=={entry['metadata']['version']}": set(
            filter(None, [entry["download_info"]["archive_info"]["hashes"].get("sha256")])
        )
        for entry in found
    }


def check(wanted: list[str], target: Path) -> None:
    """See that a lock has all that is wanted, a hash for each line, and no address."""
    text = target.read_text()
    entries = [entry for entry in text.replace("\\\n", " ").splitlines() if entry[:1] != "#"]
    locked = {canonical(entry.split()[0]) for entry in entries}
    if missing := [pin for pin in wanted if canonical(pin) not in locked]:
        sys.exit(f"{target} is older than the constraints: {', '.join(missing)}. Try: make lock")
    if unsafe := [entry for entry in entries if "--hash=sha256:" not in entry or "//" in entry]:
        sys.exit(f"{target}: {unsafe[0]}: no hash, or an address")


def main() -> None:
    """Ask for each Python, and write what all of them found."""
    *option, source, target = sys.argv[1:]
    source, target = Path(source), Path(target)
    wanted, together = pins(source), dict[str, set[str]]()
    if option:
        check(wanted, target)
        return
    for python in PYTHONS:
        for name, found in hashes(wanted, python).items():
            together.setdefault(name, set()).update(found)
    if lacking := sorted(name for name, found in together.items() if not found):
        sys.exit(f"without a hash: {', '.join(lacking)}")
    found_names = {canonical(name) for name in together}
    if missing := [pin for pin in wanted if canonical(pin) not in found_names]:
        sys.exit(f"not found: {', '.join(missing)}")
    minors = [python.rpartition(".")[0] for python in PYTHONS]
    text = HEAD.format(pythons=" and ".join([", ".join(minors[:-1]), minors[-1]]))
    for name in sorted(together, key=str.lower):
        text += " \\\n    ".join([name, *(f"--hash=sha256:{h}" for h in sorted(together[name]))])
        text += "\n"
    target.write_text(text)


if __name__ == "__main__":
    main()
