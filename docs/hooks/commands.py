"""The reference of the command line, made of the commands themselves."""

from __future__ import annotations

import re
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from typer.main import get_command

from harness.cli import app

PAGE = "reference/commands.md"
HEAD = """# Commands

Every command of `python -m harness`, as `--help` says it: options, what they are where none is
given, examples and exit codes. Installed, `harness` is the same as `python -m harness`.
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page."""
    files.append(File.generated(config, PAGE, content=write_commands()))
    return files


def write_commands() -> str:
    """Return the page: a chapter for each command, those of a group by both names."""
    parts = [HEAD]
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", {})
        for path, one in [(f"{name} {n}", c) for n, c in inner.items()] or [(name, command)]:
            parts.append(_chapter(path, one))
    return "\n".join(parts)


def _chapter(name: str, command: Any) -> str:
    lines = [f"## {name}", "", _plain(command.help or ""), ""]
    rows = [_row(p) for p in command.params if "--help" not in p.opts and not p.hidden]
    if rows:
        lines += ["| | if not given | meaning |", "| --- | --- | --- |", *rows, ""]
    return "\n".join([*lines, *_examples(command.epilog or ""), ""])


def _row(parameter: Any) -> str:
    is_argument = parameter.param_type_name == "argument"
    names = [parameter.name.upper()] if is_argument else parameter.opts
    default = parameter.default
    if parameter.required:
        default = "required"
    elif default in (None, False, "", ()) or callable(default):
        default = ""
    else:
        default = f"`{default}`"
    shown = ", ".join(f"`{name}`" for name in names)
    return f"| {shown} | {default} | {_plain(parameter.help or '')} |"


def _examples(epilog: str) -> list[str]:
    """Return the epilog's commands as a listing, and its sentences as they are."""
    lines: list[str] = []
    for part in epilog.split("\n\n"):
        sentence, colon, inline = part.partition("python -m harness")
        if colon and sentence.strip() in ("", "Example:"):
            code = f"{colon}{inline}"
            if lines[-1:] == ["```"]:
                lines[-1:] = [code, "```"]
            else:
                lines += ["```sh", code, "```"]
        elif part.strip() != "Examples:":
            lines += ["", _plain(part)]
    return lines


def _plain(text: str) -> str:
    """Return text without what a terminal, Markdown or a table would take for its own."""
    text = text.replace("\\[", "[")
    return re.sub(r"([|<*_\[])", r"\\\1", " ".join(text.split()))
