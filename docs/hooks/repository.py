"""What the site takes from the repository: files that a page links to, and the README's table.

Pages link to files beside docs/ as a reader of the repository wants it: `../harness/contract.py`.
On the site each such file is a page of its own, so that no link leads out of it.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\]\(\.\./(?P<target>[\w./-]+)(?P<anchor>#[\w-]+)?\)")
PAGES = {"README.md": "index.md", "results/README.md": "results-folder.md"}
LANGUAGES = {".py": "python", ".toml": "toml"}
TABLE = "<!-- the first table of README.md -->"  # unseen in the repository


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for every file outside of docs/ that a page links to."""
    linked = {
        match["target"]
        for file in files.documentation_pages()
        if "/" not in file.src_uri
        for match in LINK.finditer(file.content_string)
    }
    for target in sorted(linked - {"README.md"}):
        files.append(File.generated(config, page_of(target), content=content_of(target)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links lead to these pages, and put the README's first table where it is asked for."""
    if "/" in page.file.src_uri:
        return markdown
    if TABLE in markdown:
        readme = (ROOT / "README.md").read_text(encoding="utf-8")
        markdown = markdown.replace(TABLE, re.findall(r"```text\n.*?```", readme, re.S)[0])
    return LINK.sub(_on_site, markdown)


def page_of(target: str) -> str:
    """Return the page that a file of the repository has on the site."""
    return PAGES.get(target, f"source/{target}.md")


def content_of(target: str) -> str:
    """Return the page: Markdown as it is, anything else as a listing.

    Raises:
        PluginError: there is no such file.

    """
    path = ROOT / target
    if not path.is_file():
        raise PluginError(f"a page links to {target}, which is no file")
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text.replace("](../docs/", "](")
    return f"# {target}\n\n``````{LANGUAGES[path.suffix]}\n{text}``````\n"


def _on_site(match: re.Match[str]) -> str:
    if match["target"] == "README.md":
        return f"]({PAGES['README.md']})"
    return f"]({page_of(match['target'])}{match['anchor'] or ''})"
