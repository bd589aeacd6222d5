"""The site: built strictly, whole, and without anything from outside."""

from __future__ import annotations

import re
import subprocess
import sys
from html import unescape

import pytest
from docs_pages import ROOT, fences, pages
from typer.main import get_command

from harness.cli import app

LOADED = re.compile(r"<(?:script|img|iframe|source|link)\b[^>]*?\b(?:src|href)=\"?([^\s\">]+)")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built pages by their path."""
    pytest.importorskip("material", reason="the extra docs is not installed")
    place = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(place)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {
        page.relative_to(place).as_posix(): page.read_text(encoding="utf-8")
        for page in place.rglob("*.html")
    }


def test_every_page_of_the_documentation_is_on_it(site):
    for path in pages():
        name = path.removeprefix("docs/").replace(".md", ".html")
        if path.startswith("docs/"):
            assert name in site
    assert "summary.csv" in site["results-folder.html"]
    assert "class Backend(Protocol)" in re.sub("<.*?>", "", site["source/harness/contract.py.html"])


def test_nothing_is_loaded_from_elsewhere(site):
    for name, page in site.items():
        assert not [src for src in LOADED.findall(page) if re.match("(https?:)?//", src)], name


def test_it_begins_with_the_table_of_the_readme(site):
    table = fences(pages()["README.md"], "text")[0]
    assert table.splitlines()[2] in unescape(re.sub("<.*?>", "", site["index.html"]))


def test_the_reference_of_commands_has_every_option_and_example(site):
    page = unescape(re.sub("<.*?>", "", site["reference/commands.html"]))
    for name, command in get_command(app).commands.items():
        for one in getattr(command, "commands", {"": command}).values():
            options = [option for parameter in one.params for option in parameter.opts]
            assert not [o for o in options if o.startswith("--") and o not in page], name
            for example in re.findall(r"^(?:Example: )?(python -m .*)$", one.epilog, re.MULTILINE):
                assert example in page


@pytest.mark.parametrize(
    "name",
    [
        "contract.Session.train",
        "errors.WorkerError",
        "run.plan.make_plan",
        "spec.layers.MaxPool",
        "testing.suite.BackendContract",
        "verdict.paired.signed_rank_p",
    ],
)
def test_the_reference_has_the_python_interface(site, name):
    assert any(f'id="harness.{name}"' in page for page in site.values())
