"""The command line: parses and delegates. Heavier modules are imported by what needs them."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.commands.ab import EPILOG as AB_EPILOG
from harness.commands.ab import ab
from harness.commands.calibrate import EPILOG as CALIBRATE_EPILOG
from harness.commands.calibrate import calibrate
from harness.commands.compare import EPILOG as COMPARE_EPILOG
from harness.commands.compare import compare
from harness.commands.export import EPILOG as EXPORT_EPILOG
from harness.commands.export import export
from harness.errors import HarnessError

app = typer.Typer(
    name="harness",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Write a CNN once; train it as native Keras, PyTorch, Flax and raw TensorFlow; know that "
        "all are the same network, and which is fastest."
    ),
    epilog=(
        "Exit codes: 0 all well; 1 a run ended without all backends the same, or a regression; "
        "2 wrong usage; 3 no verdict; 4 a backend failed; 130 Ctrl-C.  "
        "Begin with: python -m harness run"
    ),
)

ImportFolder = Annotated[
    Path, typer.Option("--output", "-o", help="Folder for NAME.toml and NAME.safetensors.")
]
BackendNames = Annotated[
    str | None,
    typer.Option(
        "--backend",
        "-b",
        help="Names, name@variant, globs, by commas; or all. All, without --plugin.",
    ),
]
Plugins = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin",
        metavar="MODULE:CLASS",
        help="A backend that is not registered, module:Class[@variant]; may be repeated.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.command(
    epilog=(
        "Examples:\n\n"
        "python -m harness run --backend all\n\n"
        "python -m harness run -b torch,torch@compile -m mnist-1conv -d mnist --epochs 3\n\n"
        "python -m harness run -b 'keras*' --seeds 5 --out results/keras\n\n"
        "python -m harness run -m my-net.toml -d npz:my-images.npz\n\n"
        "python -m harness run -m resnet-20 -d mnist --fit --epochs 3 --seeds 1"
    )
)
def run(
    backend: BackendNames = None,
    plugin: Plugins = None,
    model: Annotated[
        str, typer.Option("--model", "-m", help="A model of the library, or a .toml file.")
    ] = "mnist-2conv",
    dataset: Annotated[
        str, typer.Option("--dataset", "-d", help="See: python -m harness datasets")
    ] = "digits",
    device: Annotated[
        str, typer.Option(help="cpu, gpu, or all that each backend reports.")
    ] = "all",
    seeds: Annotated[int, typer.Option(help="How many seeds: 0, 1, 2, …")] = 3,
    fit: Annotated[
        bool,
        typer.Option("--fit", help="Give the model the data set's image size and classes."),
    ] = False,
    epochs: Annotated[int | None, typer.Option(help="Instead of the model's own.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Instead of the model's own.")] = None,
    precision: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    environment: Annotated[
        str,
        typer.Option(help="tuned: as each framework's experts set it; stock: as it comes."),
    ] = "tuned",
    threads: Annotated[
        int | None, typer.Option(help="CPU cores for each backend; all, if not given.")
    ] = None,
    block_steps: Annotated[
        int | None, typer.Option(help="Steps in a measured block; chosen, if not given.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(help="Seconds to wait for one answer of a backend.")
    ] = 900.0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results; results/TIME-ID, if not given.")
    ] = None,
    initial_weights: Annotated[
        Path | None,
        typer.Option(help="Start every backend and seed from the weights in this file."),
    ] = None,
    save_weights: Annotated[
        bool,
        typer.Option("--save-weights", help="Keep what was trained, in weights/ of the results."),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the table.")] = False,
) -> None:
    """Train a model in several frameworks, check that they agree, and time them."""
    from rich.console import Console

    from harness import data, registry, spec
    from harness.run.folder import ResultsFolder
    from harness.run.plan import check_fit, make_plan
    from harness.run.plan import fit as fit_to
    from harness.run.run import run as carry_out
    from harness.run.weights import read_weights
    from harness.show.progress import make_listener
    from harness.show.table import read_lines, remarks, results_table

    chosen_spec = spec.load_spec(model)
    loaded = data.load(dataset) if fit else None
    if loaded:
        chosen_spec = fit_to(chosen_spec, loaded)
    given = read_weights(initial_weights, chosen_spec) if initial_weights else None
    chosen, skipped, known = registry.choose(backend, plugin or [])
    plan = make_plan(
        chosen_spec,
        dataset,
        chosen,
        known,
        device=device,
        seeds=seeds,
        epochs=epochs,
        batch_size=batch_size,
        precision=precision,
        environment=environment,
        threads=threads,
        timeout=timeout,
        block_steps=block_steps,
        initial=given.arrays if given else None,
        save_weights=save_weights,
    )
    messages, output = Console(stderr=True), Console()
    for info, reason in skipped:
        messages.print(f"skipped {info.label}: {reason}", markup=False, highlight=False)
    loaded = loaded or data.load(dataset)
    check_fit(plan.spec, spec.infer(plan.spec).output_shape[0], loaded)
    folder = ResultsFolder(out)
    command = shlex.join(["python", "-m", "harness", *sys.argv[1:]])
    rows = carry_out(plan, loaded, folder, make_listener(messages, quiet), {"command": command})
    lines = read_lines(folder.path)
    output.print(results_table(lines))
    for remark in remarks(lines):
        output.print(remark, markup=False, highlight=False)
    output.print(f"\nResults: {folder.path}", markup=False, highlight=False, soft_wrap=True)
    if any(row["status"] != "ok" for row in rows):
        raise typer.Exit(4)
    if not all(row["equivalent"] for row in rows):
        raise typer.Exit(1)


@app.command(
    epilog=(
        "Examples:\n\n"
        "python -m harness predict --weights DIR/weights/torch-cpu-0.safetensors --backend all\n\n"
        "python -m harness predict -w torch-cpu-0.safetensors -b flax,numpy -d mnist --json"
    )
)
def predict(
    weights: Annotated[
        Path, typer.Option("--weights", "-w", help="A file that run --save-weights wrote.")
    ],
    backend: BackendNames = None,
    plugin: Plugins = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Instead of the spec inside the file of weights."),
    ] = None,
    dataset: Annotated[
        str, typer.Option("--dataset", "-d", help="See: python -m harness datasets")
    ] = "digits",
    device: Annotated[
        str, typer.Option(help="cpu, gpu, or all that each backend reports.")
    ] = "cpu",
    precision: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    threads: Annotated[
        int | None, typer.Option(help="CPU cores for each backend; all, if not given.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(help="Seconds to wait for one answer of a backend.")
    ] = 900.0,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write the logits of each backend to this .npz file."),
    ] = None,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the table.")] = False,
) -> None:
    """Predict a test set from saved weights, in any framework, and compare the logits."""
    from rich.console import Console

    from harness import data, registry, spec
    from harness.output import check_place
    from harness.run.plan import make_plan
    from harness.run.predict import describe_predictions, write_logits
    from harness.run.predict import predict as carry_out
    from harness.run.weights import read_weights
    from harness.show.predictions import predictions_table
    from harness.show.progress import PlainProgress

    if output:
        check_place(output)
    given = read_weights(weights, spec.load_spec(model) if model else None)
    chosen, skipped, known = registry.choose(backend, plugin or [])
    plan = make_plan(
        given.spec,
        dataset,
        chosen,
        known,
        device=device,
        precision=precision,
        threads=threads,
        timeout=timeout,
        timed=False,
    )
    messages = Console(stderr=True, quiet=quiet)
    for info, reason in skipped:
        messages.print(f"skipped {info.label}: {reason}", markup=False, highlight=False)
    loaded = data.load(dataset)
    found = carry_out(plan, given.arrays, loaded, PlainProgress(messages))
    rows = describe_predictions(found, loaded)
    if output:
        write_logits(output, found, loaded.test_labels)
    if as_json:
        whole = {"model": plan.spec.name, "model_hash": plan.spec.hash, "dataset": dataset}
        print(json.dumps({**whole, "weights": given.facts, "backends": rows}, indent=2))
    else:
        Console().print(predictions_table(rows))
    for row in rows:
        if row["error"]:
            print(f"error: {row['error']}", file=sys.stderr)
    if any(row["status"] != "ok" for row in rows):
        raise typer.Exit(4)


@app.command(
    epilog=(
        "Examples:\n\n"
        "python -m harness check --backend all --model mnist-1conv\n\n"
        "python -m harness check -b torch,flax -m my-net.toml --precision float32 --steps 20\n\n"
        "python -m harness check --plugin mypackage:MyBackend --model mnist-1conv\n\n"
        "python -m harness check --model mnist-1conv --seeds 5 --dataset digits --epochs 5\n\n"
        "Exit codes: 0 all are the same network; 1 one differs; 2 wrong usage; 3 no verdict on "
        "accuracy; 4 one failed."
    )
)
def check(
    backend: BackendNames = None,
    plugin: Plugins = None,
    model: Annotated[
        str, typer.Option("--model", "-m", help="A model of the library, or a .toml file.")
    ] = "mnist-2conv",
    precision: Annotated[str, typer.Option(help="float64 or float32.")] = "float64",
    device: Annotated[str, typer.Option(help="cpu, gpu, or all that each backend reports.")] = (
        "cpu"
    ),
    steps: Annotated[int, typer.Option(help="Training steps of the trajectory.")] = 50,
    seeds: Annotated[
        int, typer.Option(help="Then train in float32 from so many seeds; compare accuracies.")
    ] = 0,
    dataset: Annotated[
        str, typer.Option("--dataset", "-d", help="What to train on, as in run.")
    ] = "digits",
    fit: Annotated[
        bool, typer.Option("--fit", help="Fit the model to the data set's images and classes.")
    ] = False,
    epochs: Annotated[
        int | None, typer.Option(help="Of each training; the model's own, if not given.")
    ] = None,
    margin: Annotated[float, typer.Option(help="Points of accuracy that do not matter.")] = 1.0,
    threads: Annotated[
        int | None, typer.Option(help="CPU cores for each backend; all, if not given.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(help="Seconds to wait for one answer of a backend.")
    ] = 900.0,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for what was found; results/checks/TIME-ID, if not given."),
    ] = None,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the table.")] = False,
) -> None:
    """Prove that backends compute the same network, or name the first layer that differs."""
    from rich.console import Console

    from harness import data, registry, spec
    from harness.check.check import check as carry_out
    from harness.check.check import prepare_material
    from harness.check.report import CheckFolder
    from harness.check.seeds import plan_seeds, train_seeds
    from harness.run.plan import fit as fit_to
    from harness.run.plan import make_plan
    from harness.show.checks import check_table, remarks
    from harness.show.progress import PlainProgress, make_listener

    chosen_spec = spec.load_spec(model)
    loaded = data.load(dataset) if seeds or fit else None
    if fit and loaded:
        chosen_spec = fit_to(chosen_spec, loaded)
    chosen, skipped, known = registry.choose(backend, plugin or [])
    plan = make_plan(
        chosen_spec,
        "check",
        chosen,
        known,
        device=device,
        precision=precision,
        threads=threads,
        timeout=timeout,
        timed=False,
    )
    trainings = plan_seeds(plan, loaded, seeds, epochs, margin) if seeds and loaded else None
    material = prepare_material(plan, steps)
    folder = CheckFolder(out)
    messages, output = Console(stderr=True, quiet=quiet), Console()
    for info, reason in skipped:
        messages.print(f"skipped {info.label}: {reason}", markup=False, highlight=False)
    checked = carry_out(plan, material, folder, PlainProgress(messages))
    if trainings:
        listener = make_listener(messages, quiet)
        checked = train_seeds(trainings, checked, folder.path / "accuracy", listener)
    report = folder.write(checked)
    if as_json:
        print(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        output.print(check_table(report))
        for remark in remarks(report):
            output.print(remark, markup=False, highlight=False)
        output.print(f"\nWritten: {folder.path}", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(checked.exit_code)


@app.command(
    epilog=(
        "Examples:\n\n"
        "python -m harness fuzz --specs 500 --seconds 600\n\n"
        "python -m harness fuzz -b torch,flax --specs 50 --seed 7 --out found\n\n"
        "Exit codes: 0 all agree on every spec; 1 one differed or failed; 2 wrong usage."
    )
)
def fuzz(
    specs: Annotated[int, typer.Option(help="How many specs to draw, at most.")] = 500,
    seconds: Annotated[float, typer.Option(help="No spec is begun after so many.")] = 600.0,
    seed: Annotated[int, typer.Option(help="The same seed draws the same specs.")] = 0,
    backend: Annotated[
        str,
        typer.Option("--backend", "-b", help="Names, name@variant, globs, by commas; or all."),
    ] = "all",
    timeout: Annotated[
        float, typer.Option(help="Seconds to wait for one answer of a backend.")
    ] = 300.0,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for what is found; results/fuzz/TIME-ID, if not given."),
    ] = None,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the result.")] = False,
) -> None:
    """Draw specs at random, and see that all backends compute the same network in float64."""
    from rich.console import Console

    from harness import registry
    from harness.exchange.needed import needed

    needed("hypothesis")
    from harness.fuzz.fuzz import check_limits, make_fuzz_plan
    from harness.fuzz.fuzz import fuzz as carry_out
    from harness.fuzz.report import FuzzFolder
    from harness.show.fuzzing import FuzzProgress, result_lines

    check_limits(specs, seconds, seed)
    known = registry.describe()
    chosen, skipped = registry.select(backend, known)
    plan, rounded = make_fuzz_plan(chosen, known, timeout)
    folder = FuzzFolder(out)
    messages, output = Console(stderr=True, quiet=quiet), Console()
    for info, reason in skipped:
        messages.print(f"skipped {info.label}: {reason}", markup=False, highlight=False)
    watcher = FuzzProgress(messages)
    fuzzed = carry_out(plan, rounded, folder, watcher, specs=specs, seconds=seconds, seed=seed)
    report = folder.write(fuzzed)
    if as_json:
        print(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        for line in result_lines(report, fuzzed.findings):
            output.print(line, markup=False, highlight=False, soft_wrap=True)
        output.print(f"\nWritten: {folder.path}", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(fuzzed.exit_code)


@app.command(epilog="Example: python -m harness backends --json")
def backends(as_json: AsJson = False) -> None:
    """List the backends, their variants, and what is not installed."""
    from harness import registry

    known = registry.describe()
    objects: list[dict[str, Any]] = [
        {
            "name": info.label,
            "installed": not info.missing and not info.error,
            "in_all": info.in_all and not info.variant,
            "versions": info.versions,
            "missing": list(info.missing),
            "install": info.install,
            "error": info.error,
        }
        for info in known
    ]
    _print(
        objects,
        as_json,
        {
            "backend": lambda o: o["name"],
            "in all": lambda o: "yes" if o["in_all"] else "",
            "versions": lambda o: "  ".join(f"{k} {v}" for k, v in o["versions"].items()),
            "": lambda o: o["error"] or ("not installed" if o["missing"] else ""),
        },
    )
    missing: dict[str, list[str]] = {}
    for item in objects:
        if item["missing"]:
            missing.setdefault(item["install"], []).append(item["name"])
    if missing and not as_json:
        print()
        for install, names in missing.items():
            print(f"For {', '.join(names)}: {install}")


@app.command(
    epilog=(
        "Examples:\n\n"
        "python -m harness models --json\n\n"
        "python -m harness models resnet-20\n\n"
        "python -m harness models my-net.toml"
    )
)
def models(
    name: Annotated[
        str | None, typer.Argument(help="A model of the library, or a .toml file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the models of the library, or the layers of one."""
    from harness import spec

    if name is not None:
        _print_layers(spec.infer(spec.load_spec(name)), as_json)
        return
    objects = []
    for name in spec.library():
        model = spec.load_spec(name)
        network = spec.infer(model)
        objects.append(
            {
                "name": name,
                "input": list(model.input),
                "parameters": network.parameter_count,
                "flops_per_image": network.flops_per_image,
                "description": model.description,
            }
        )
    _print(
        objects,
        as_json,
        {
            "model": lambda o: o["name"],
            "input": lambda o: "x".join(map(str, o["input"])),
            "parameters": lambda o: f"{o['parameters']:,}",
            "MFLOP/image": lambda o: f"{o['flops_per_image'] / 1e6:,.2f}",
        },
    )


def _write_imported(imported: Any, file: Path, output: Path) -> None:
    from harness.exchange.imported import write_imported

    for path in write_imported(imported, output, file):
        print(path)


def _print_layers(network: Any, as_json: bool) -> None:
    from harness.show.layers import layer_rows, layer_table

    if as_json:
        print(json.dumps(layer_rows(network), indent=2))
        return
    from rich.console import Console

    Console().print(layer_table(network), highlight=False)


@app.command(epilog="Example: python -m harness schema -o spec.schema.json")
def schema(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; printed, if not given.")
    ] = None,
) -> None:
    """Print the JSON Schema of a model's file, for editors that complete and check TOML."""
    from harness.output import write_whole
    from harness.spec.schema import spec_schema

    text = json.dumps(spec_schema(), indent=2, ensure_ascii=False)
    if output is None:
        print(text)
    else:
        write_whole(output, lambda path: path.write_text(text + "\n", encoding="utf-8"))


@app.command(
    name="export-onnx",
    epilog=(
        "Examples:\n\n"
        "python -m harness export-onnx --weights torch-cpu-0.safetensors -o net.onnx\n\n"
        "python -m harness export-onnx --model resnet-20 --seed 0 -o resnet-20.onnx"
    ),
)
def export_onnx(
    output: Annotated[Path, typer.Option("--output", "-o", help="The .onnx file to write.")],
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="A model of the library, or a .toml file."),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option("--weights", "-w", help="A file that run --save-weights wrote."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Without --weights: of the initial weights; 0, if not given.")
    ] = None,
) -> None:
    """Write a network and its weights as an ONNX file: NHWC images in, logits out."""
    from harness.exchange.onnx_export import write_onnx
    from harness.exchange.sources import parameters_of
    from harness.output import check_place

    check_place(output)
    spec, arrays = parameters_of(model, weights, seed)
    write_onnx(output, spec, arrays)
    print(f"{spec.name}: {output}")


@app.command(name="import-onnx", epilog="Example: python -m harness import-onnx net.onnx -o models")
def import_onnx(
    file: Annotated[Path, typer.Argument(help="An ONNX model of a CNN.")],
    output: ImportFolder,
) -> None:
    """Read a CNN from an ONNX file: its spec, and its weights."""
    from harness.exchange.onnx_import import import_onnx as read

    _write_imported(read(file), file, output)


@app.command(
    name="import-keras", epilog="Example: python -m harness import-keras net.keras -o models"
)
def import_keras(
    file: Annotated[Path, typer.Argument(help="A CNN, as model.save of Keras 3 writes it.")],
    output: ImportFolder,
) -> None:
    """Read a CNN from a .keras file: its spec, and its weights."""
    from harness.exchange.keras_import import import_keras as read

    _write_imported(read(file), file, output)


@app.command(epilog="Example: python -m harness datasets --json")
def datasets(as_json: AsJson = False) -> None:
    """List the datasets, and where they are."""
    from dataclasses import asdict

    from harness import data

    _print(
        [asdict(info) for info in data.catalog()],
        as_json,
        {
            "dataset": lambda o: o["name"],
            "images": lambda o: o["image_shape"],
            "classes": lambda o: o["classes"] or "",
            "train + test": lambda o: f"{o['train']:,} + {o['test']:,}" if o["train"] else "",
            "where": lambda o: o["where"].partition(";")[0],
        },
    )


@app.command(epilog="Example: python -m harness machine --json")
def machine(as_json: AsJson = False) -> None:
    """Describe this machine as results name it."""
    from harness.machine import describe_machine

    facts = describe_machine()
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        shown = ", ".join(gpu["name"] for gpu in value) or "none" if name == "gpus" else value
        print(f"{name.replace('_', ' '):16} {shown}")


app.command(epilog=AB_EPILOG)(ab)
app.command(epilog=COMPARE_EPILOG)(compare)
app.command(epilog=CALIBRATE_EPILOG)(calibrate)
app.command(epilog=EXPORT_EPILOG)(export)


def _print(objects: list[dict[str, Any]], as_json: bool, columns: dict[str, Any]) -> None:
    if as_json:
        print(json.dumps(objects, indent=2, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(pad_edge=False, box=None, header_style="bold")
    for name in columns:
        # The name is what the user types next, so it stays in one piece.
        table.add_column(name, overflow="fold", no_wrap=name == next(iter(columns)))
    for item in objects:
        table.add_row(*(str(show(item)) for show in columns.values()))
    Console().print(table, markup=False, highlight=False)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; an error that a user can meet is one message, never a traceback.

    Args:
        arguments: those behind the program's name; None for the process's own.

    Raises:
        SystemExit: always, with the exit code.

    """
    try:
        app(args=arguments)
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(1)
