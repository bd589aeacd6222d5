"""What the command line says of words that it does not know, in the form of all errors."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from harness.errors import UsageError, did_you_mean

# The base of what the parser raises; typer brings its own, or has it from click.
PARSER_ERROR: type[Exception] = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"
)
PROGRAM = "python -m harness"


class Commands(TyperGroup):
    """A group of commands that refuses an unknown one as a backend or a model is refused."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that `args` begin with.

        Raises:
            UsageError: there is none of that name.

        """
        name = args[0]
        is_name = not name.startswith("-") and not ctx.resilient_parsing
        if is_name and self.get_command(ctx, name) is None:
            known = self.list_commands(ctx)
            raise UsageError(
                f"unknown command {name!r}; known: {', '.join(known)}.{did_you_mean(name, known)} "
                f"Try: {_path(ctx)} --help"
            )
        return super().resolve_command(ctx, args)


def refusal(error: Any) -> str:
    """Return what is wrong with a command line that the parser refused; "" where help was shown."""
    if type(error).__name__ == "NoArgsIsHelpError":
        return ""
    message = " ".join(error.format_message().split()).rstrip(".")
    context = getattr(error, "ctx", None)
    if context is None:
        return f"{message}. Try: {PROGRAM} --help"
    hint = ""
    if (option := getattr(error, "option_name", None)) and hasattr(error, "possibilities"):
        message = f"No such option: {option}"
        hint = did_you_mean(option, options_of(context.command, context))
    return f"{message}.{hint} Try: {_path(context)} --help"


def options_of(command: Any, context: Any) -> list[str]:
    """Return the long names of a command's options."""
    return [
        name
        for parameter in command.get_params(context)
        for name in (*parameter.opts, *parameter.secondary_opts)
        if name.startswith("--")
    ]


def _path(context: Any) -> str:
    """Return what the user types to get to a command."""
    names: list[str] = []
    while context.parent is not None:
        names.insert(0, context.info_name)
        context = context.parent
    return " ".join([PROGRAM, *names])
