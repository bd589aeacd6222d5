"""What makes a program of a generated source: data, batches, rates and weights, in plain NumPy.

A program is the source itself, word for word, between a docstring that says how its framework
differs from the others and a part that reads data and trains. It needs the framework and NumPy.
"""

from __future__ import annotations

import ast
import sys
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass

from backends import program_texts as texts
from backends.program_rates import rates_function
from harness.contract import SourceWriter
from harness.spec import Spec, infer

IMPORTS = ("import argparse", "import json", "import sys", "import time", "import numpy as np")


@dataclass(frozen=True)
class Dialect:
    """How one framework says what every program must.

    `file` is what the program may be called. `notes` say how the framework differs from the
    others; each is true of this network. `imports` are lines that the source itself does not
    have, and `set_weights` is a function that starts from given arrays.

    The rest are lines of the main function: `setup` makes the model, as `options.seed` and
    `options.weights` say; `upload` puts the images that fill its `{images}`, and `train_targets`,
    where `train` reads them; `train` makes of `order` and `rates` what it takes, calls it and
    assigns to `losses`, of which `mean` makes the float `loss`; of `parts`, a list of such losses,
    `join` makes `losses`. `predict` is an expression: the logits of `images` as an array.
    """

    title: str
    file: str
    notes: tuple[str, ...]
    imports: tuple[str, ...]
    set_weights: str
    setup: str
    upload: str
    train: str
    mean: str
    join: str
    predict: str
    compiles: bool = True  # when first called

    @property
    def framework(self) -> str:
        """The title without what stands in brackets."""
        return self.title.partition(" (")[0]


def write_program(spec: Spec, source: str, dialect: Dialect) -> str:
    """Make a program of the source of `spec`.

    Raises:
        NotImplementedError: a block's family is called like a function of the program.

    """
    head, body = _split(source)
    own = _own_part(spec, dialect)
    _check_names(body, own)
    imports = _imports(head, [*dialect.imports, *IMPORTS])
    return f"{_docstring(spec, dialect)}\n\n{imports}\n{body}\n\n{own}\n"


def _split(source: str) -> tuple[list[str], str]:
    """Return the lines of a source that import or set something, and all that follows them."""
    lines, statements = source.splitlines(), ast.parse(source).body[1:]
    kinds = ast.Import | ast.ImportFrom
    last = max(s.end_lineno or 0 for s in statements if isinstance(s, kinds))
    first = statements[0].lineno - 1
    return list(filter(None, lines[first:last])), "\n".join(lines[last:]).rstrip("\n") + "\n"


def _imports(head: list[str], added: Iterable[str]) -> str:
    """Return all imports, sorted as formatters want them, and settings before the frameworks'."""
    lines = dict.fromkeys([*head, *added])
    imports = [line for line in lines if line.startswith(("import ", "from "))]
    settings = [line for line in head if line not in imports]
    standard = [line for line in imports if _module(line) in sys.stdlib_module_names]
    others = [line for line in imports if line not in standard]
    parts = [_sorted(standard), "\n".join(settings), _sorted(others)]
    return "\n\n".join(filter(None, parts))


def _module(line: str) -> str:
    return line.split()[1].partition(".")[0]


def _sorted(imports: list[str]) -> str:
    return "\n".join(sorted(imports, key=lambda line: (line.startswith("from"), line.split()[1])))


def _check_names(body: str, own: str) -> None:
    """Refuse a program in which one function would hide another."""
    for name in sorted(_names(body) & _names(own)):
        raise NotImplementedError(
            f"a program has a function {name!r} of its own. Try: another `family` than {name!r}"
        )


def _names(text: str) -> set[str]:
    kinds = ast.FunctionDef | ast.ClassDef
    return {node.name for node in ast.parse(text).body if isinstance(node, kinds)}


def _docstring(spec: Spec, dialect: Dialect) -> str:
    network = infer(spec)
    commands = [(f"python {dialect.file} data.npz", "images and labels, or x_train, y_train, ...")]
    if has_digits(spec):
        commands.insert(0, (f"python {dialect.file}", "scikit-learn's digits"))
    width = max(len(command) for command, _ in commands)
    sides, outputs = "x".join(map(str, spec.input)), network.output_shape[0]
    about = texts.ABOUT.format(
        shapes=f"From {sides} values to {outputs}",
        parameters=f"{network.parameter_count:,}",
        framework=dialect.framework,
    )
    return texts.DOCSTRING.format(
        name=spec.name,
        title=dialect.title,
        about=textwrap.fill(about, 98),
        commands="\n".join(f"    {command:{width}}  # {what}" for command, what in commands),
        notes="\n".join(map(_bullet, dialect.notes)),
    )


def _bullet(note: str) -> str:
    lines = textwrap.wrap(note, 96, break_long_words=False, break_on_hyphens=False)
    return "- " + "\n  ".join(lines)


def has_digits(spec: Spec) -> bool:
    """Whether scikit-learn's digits fit: one channel, ten outputs."""
    return len(spec.input) == 3 and spec.input[-1] == 1 and infer(spec).output_shape == (10,)


def _own_part(spec: Spec, dialect: Dialect) -> str:
    """Write what the source has not: first what is NumPy only, then the framework's part."""
    training, shape = spec.training, tuple(spec.input)
    uses_digits = has_digits(spec)
    parts = [
        texts.SETTINGS.format(epochs=training.epochs, batch=training.batch_size),
        texts.DIGITS.format(height=shape[0], width=shape[1]) if uses_digits else "",
        texts.DATA.format(
            otherwise=texts.DIGITS_OTHERWISE if uses_digits else "",
            what="the digits, or an .npz file" if uses_digits else "an .npz file",
        ),
        texts.IMAGES.format(
            shape=shape,
            sides=", ".join(map(str, shape)),
            channel=texts.CHANNEL.format(axes=len(shape)) if shape[-1] == 1 else "",
        ),
        _targets(spec),
        _augmentation(spec),
        rates_function(training),
        texts.EPOCHS_KEEP if training.last_batch == "keep" else texts.EPOCHS_DROP,
        _describe(spec),
        texts.WEIGHTS,
        texts.OPTIONS.format(
            nargs=' nargs="?",' if uses_digits else "",
            default="; else scikit-learn's digits" if uses_digits else "",
        ),
        dialect.set_weights,
        _main(spec, dialect),
        'if __name__ == "__main__":\n    main()',
    ]
    return "\n\n\n".join(part.strip("\n") for part in parts if part)


def _targets(spec: Spec) -> str:
    outputs = infer(spec).output_shape[0]
    if spec.training.loss == "cross_entropy":
        return texts.CLASSES.format(outputs=outputs)
    return (texts.SINGLE_VALUES if outputs == 1 else texts.VALUES).format(outputs=outputs)


def _describe(spec: Spec) -> str:
    match spec.training.loss:
        case "cross_entropy":
            return texts.ACCURACY
        case "binary_cross_entropy":
            return texts.BINARY_ACCURACY
        case _:
            return texts.ERROR


def _augmentation(spec: Spec) -> str:
    """Write what the spec's augmentation does, in its order."""
    augment = spec.training.augment
    if augment is None:
        return ""
    padding, side = augment.crop_padding, augment.cutout
    text = texts.AUGMENT
    text += texts.CROP.format(padding=padding, places=2 * padding + 1) if padding else ""
    text += texts.FLIP if augment.flip else ""
    text += texts.CUTOUT.format(half=side // 2, side=side) if side else ""
    return text + "    return images"


def _main(spec: Spec, dialect: Dialect) -> str:
    """Write the main function: data, model, and epochs."""
    augments, keeps = spec.training.augment is not None, spec.training.last_batch == "keep"
    write = SourceWriter()
    write("def main(arguments=None):")
    write("options = parse_options(arguments)", 1)
    write("train_images, train_targets, test_images, test_targets = load_data(options.data)", 1)
    write(dialect.setup + "\n", 1)
    write(texts.TEST_PARTS, 1)
    if augments:
        write("random = np.random.default_rng([options.seed, 1])", 1)
    elif dialect.upload:
        write(dialect.upload.format(images="train_images"), 1)
    batches = "batches" if keeps else "(order, rates)"
    write(f"for epoch, {batches} in enumerate(epochs(options, len(train_targets)), 1):", 1)
    if augments:
        write(dialect.upload.format(images="augment(train_images, random)"), 2)
    write("started = time.perf_counter()", 2)
    if keeps:
        write("parts = []", 2)
        write("for order, rates in batches:", 2)
    write(dialect.train, 2 + keeps)
    if keeps:
        write("parts.append(losses)", 3)
        write(f"losses = {dialect.join}", 2)
    write(dialect.mean, 2)
    compiling = "  # the first epoch compiles, too" if dialect.compiles else ""
    if keeps:
        write("count = sum(order.size for order, _ in batches)", 2)
    count = "count" if keeps else "order.size"
    write(f"speed = {count} / (time.perf_counter() - started){compiling}", 2)
    write("outputs = []", 2)
    write("for images in test_parts:", 2)
    write(f"outputs.append({dialect.predict})", 3)
    write("score = describe(np.concatenate(outputs), test_targets)", 2)
    write('print(f"epoch {epoch}: loss {loss:.6f}, test {score}, {speed:,.0f} images/s")', 2)
    return write.text()
