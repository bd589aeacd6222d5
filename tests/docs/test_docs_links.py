"""Links between the pages, and to files of the repository, lead somewhere."""

from __future__ import annotations

import re

import pytest
from docs_pages import FENCE, ROOT, pages

PAGES = pages()
LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(text: str) -> set[str]:
    """The anchors that GitHub, and the site, make of the headings."""
    titles = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", title.lower()) for title in titles]
    return {title.replace(" ", "-") for title in plain}


@pytest.mark.parametrize("path", PAGES)
def test_links_lead_to_files_and_headings(path):
    place = (ROOT / path).parent
    for link in LINK.findall(FENCE.sub("", PAGES[path])):
        if re.match(r"https?://", link):
            continue
        target, _, anchor = link.partition("#")
        file = (place / target).resolve() if target else ROOT / path
        is_made = file.relative_to(ROOT).as_posix() == "docs/reference/commands.md"
        assert file.is_file() or is_made, link
        if anchor:
            assert anchor in anchors(file.read_text(encoding="utf-8")), link


def test_the_readme_is_one_screen_and_links_to_every_page():
    readme = PAGES["README.md"]
    assert len(readme.splitlines()) <= 90
    for path in PAGES:
        if path.startswith("docs/") and path.count("/") == 1 and path != "docs/index.md":
            assert f"({path})" in readme, path
