"""What there is: backends, models, datasets, this machine, the schema of a spec."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.commands.complete import complete_models, complete_words
from harness.commands.options import AsJson, Precision, Threads, print_objects

BACKENDS_EPILOG = (
    "Examples:\n\n"
    "python -m harness backends\n\n"
    "python -m harness backends --json\n\n"
    "Exit codes: 0 listed, whatever is not installed; 2 wrong usage; 4 they cannot be asked."
)


def backends(as_json: AsJson = False) -> None:
    """List the backends, their variants, and what is not installed."""
    from harness import registry

    known = registry.describe()
    objects: list[dict[str, Any]] = [
        {
            "name": info.label,
            "installed": not info.missing and not info.error,
            "trains": info.trains,
            "in_all": info.in_all and not info.variant,
            "versions": info.versions,
            "missing": list(info.missing),
            "install": info.install,
            "error": info.error,
        }
        for info in known
    ]
    print_objects(
        objects,
        as_json,
        {
            "backend": lambda o: o["name"],
            "in all": lambda o: "yes" if o["in_all"] else "",
            "versions": lambda o: "  ".join(f"{k} {v}" for k, v in o["versions"].items()),
            "": _remark_on,
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


def _remark_on(backend: dict[str, Any]) -> str:
    missing = "not installed" if backend["missing"] else ""
    return backend["error"] or missing or ("" if backend["trains"] else "only predicts")


MODELS_EPILOG = (
    "Examples:\n\n"
    "python -m harness models --json\n\n"
    "python -m harness models resnet-20\n\n"
    "python -m harness models my-net.toml\n\n"
    "Exit codes: 0 listed; 2 wrong usage, or a mistake in the file."
)


def models(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A model of the library, a .toml file, or a run's spec.json.",
            autocompletion=complete_models,
        ),
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
    print_objects(
        objects,
        as_json,
        {
            "model": lambda o: o["name"],
            "input": lambda o: "x".join(map(str, o["input"])),
            "parameters": lambda o: f"{o['parameters']:,}",
            "MFLOP/image": lambda o: f"{o['flops_per_image'] / 1e6:,.2f}",
        },
    )


SCHEMA_EPILOG = (
    "Examples:\n\n"
    "python -m harness schema -o spec.schema.json\n\n"
    "Exit codes: 0 written; 2 wrong usage."
)


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


DATASETS_EPILOG = (
    "Examples:\n\n"
    "python -m harness datasets\n\n"
    "python -m harness datasets --json\n\n"
    "Exit codes: 0 listed, whatever is not here; 2 wrong usage."
)


def datasets(as_json: AsJson = False) -> None:
    """List the datasets, and where they are."""
    from dataclasses import asdict

    from harness import data

    print_objects(
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


MACHINE_EPILOG = (
    "Examples:\n\n"
    "python -m harness machine --json\n\n"
    "python -m harness machine --measure --threads 1\n\n"
    "Exit codes: 0 described; 1 no backend could measure; 2 wrong usage."
)


def machine(
    measure: Annotated[
        bool,
        typer.Option("--measure", help="Measure what it can do anew, and keep that for runs."),
    ] = False,
    device: Annotated[
        str,
        typer.Option(
            help="With its limits: cpu, gpu, or all.",
            autocompletion=complete_words("cpu", "gpu", "all"),
        ),
    ] = "all",
    precision: Precision = "float32",
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Describe this machine as results name it, and what it can do at most."""
    from typing import get_args

    from rich.console import Console

    from harness import contract, registry
    from harness.errors import HarnessError
    from harness.machine import available_cpus, describe_machine
    from harness.run.peaks import as_json as peak_object
    from harness.run.peaks import find_peaks, known_peaks
    from harness.run.plan import check_device, check_range, check_word
    from harness.run.preparation import wanted_devices
    from harness.show.peaks import peak_lines
    from harness.show.progress import PlainProgress

    threads = available_cpus() if threads is None else threads
    check_range("--threads", threads, 1, available_cpus())
    check_device(device)
    check_word("--precision", precision, get_args(contract.Precision))
    kind: Any = precision  # one of contract.Precision, as was checked
    devices = wanted_devices(device)
    if measure:
        listener = PlainProgress(Console(stderr=True))
        found = find_peaks(devices, threads, kind, registry.describe(), listener, anew=True)
        if not found:
            raise HarnessError(
                "no installed backend could measure the limits of this machine. "
                "Try: python -m harness backends"
            )
    else:
        known = {name: known_peaks(name, threads, kind) for name in devices}
        found = {name: peaks for name, peaks in known.items() if peaks}
    facts = {**describe_machine(), "peaks": [peak_object(peaks) for peaks in found.values()]}
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        shown = ", ".join(gpu["name"] for gpu in value) or "none" if name == "gpus" else value
        if name != "peaks":
            print(f"{name.replace('_', ' '):16} {shown}")
    for line in peak_lines(found.values()):
        print(line)
    if not found:
        print("peaks            not measured. Try: python -m harness machine --measure")


def _print_layers(network: Any, as_json: bool) -> None:
    from harness.show.layers import layer_rows, layer_table

    if as_json:
        print(json.dumps(layer_rows(network), indent=2))
        return
    from rich.console import Console

    Console().print(layer_table(network), highlight=False)
