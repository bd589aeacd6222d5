"""How cost grows: python -m benchmarks.growth --axis batch,model,threads,dataset

Along each axis, runs of the harness for each value, with all else alike: images per second in
training by batch size, by the network's operations, by threads and by the size of the data set.
All points are run in one pass after the other, so that an hour's weather hits all alike; a point's
figure is the median over passes. Writes growth.csv, the rows of all summaries with axis, value and
pass, and growth.svg; prints tables, with the range. Run again with the same --out, it goes on.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.kept import of_this_machine
from benchmarks.markdown import days_of, heading_of, table
from benchmarks.plot import Panel, write_svg
from harness.machine import available_cpus, describe_machine
from harness.run.folder import SUMMARY_COLUMNS, read_rows
from harness.run.journal import JOURNAL
from harness.spec import infer, load_spec

STEPS = 24  # in an epoch, but for small batches: a block or more of each backend, twenty in all
EPOCHS = 5
LEAST_IMAGES, MOST_IMAGES = 2_048, 24_576
BATCHES = (1, 4, 16, 64, 256, 1024)
MODELS = (
    *("mnist-1conv", "lenet-5", "mnist-2conv", "squeezenet", "resnet-20", "wrn-16-4"),
    *("resnet-18", "resnet-50"),
)
LARGE = 10**9  # operations of an image's way forward; a network with more trains one epoch, once
MODEL_BATCH = 16  # small, as all workers hold the activations of a ResNet-50 at once
SIZES = (1_024, 4_096, 16_384, 65_536)


@dataclass(frozen=True)
class Point:
    """One run: where it is on its axis, and the options that put it there."""

    axis: str
    value: float
    model: str
    batch: int
    images: int
    threads: int
    epochs: int = EPOCHS

    @property
    def options(self) -> list[str]:
        """The arguments of `harness run`."""
        shape = "x".join(map(str, load_spec(self.model).input))
        return [
            *("--model", self.model, "--batch-size", str(self.batch)),
            *("--dataset", f"synthetic:{shape}:10:{self.images}", "--fit"),
            *("--threads", str(self.threads), "--epochs", str(self.epochs)),
        ]


def points(axis: str, model: str) -> list[Point]:
    """Return the runs along one axis."""
    cpus = available_cpus()
    match axis:
        case "batch":
            counts = {size: min(max(STEPS * size, LEAST_IMAGES), MOST_IMAGES) for size in BATCHES}
            return [Point(axis, size, model, size, count, cpus) for size, count in counts.items()]
        case "model":
            by_flops = sorted((infer(load_spec(name)).flops_per_image, name) for name in MODELS)
            fixed = (MODEL_BATCH, STEPS * MODEL_BATCH, cpus)
            return [
                Point(axis, flops, name, *fixed, epochs=1 if flops > LARGE else EPOCHS)
                for flops, name in by_flops
            ]
        case "threads":
            counts = sorted({1, 2, 4, 8, 16, cpus} & set(range(1, cpus + 1)))
            return [Point(axis, n, model, 128, 4096, n) for n in counts]
        case "dataset":
            return [Point(axis, size, model, 128, size, cpus, epochs=1) for size in SIZES]
    raise ValueError(axis)


AXES = {
    "batch": "images in a batch",
    "model": "operations of one image's way forward",
    "threads": "threads",
    "dataset": "training images",
}


def main() -> None:
    """Read the options, carry out every run, and write what came of them after each."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--backend", default="all")
    parser.add_argument("--model", default="mnist-1conv", help="on the axes but `model`")
    parser.add_argument("--axis", default=",".join(AXES), help=f"of {', '.join(AXES)}, by commas")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--passes", type=int, default=3, help="over all points")
    parser.add_argument("--out", type=Path, default=Path("results/growth"))
    options = parser.parse_args()
    axes = options.axis.split(",")
    if unknown := set(axes) - AXES.keys():
        parser.error(f"no axis {', '.join(unknown)}; there are: {', '.join(AXES)}")
    of_this_machine(options.out)
    rows: list[dict[str, Any]] = []
    all_points = [point for axis in axes for point in points(axis, options.model)]
    for number in range(1, options.passes + 1):
        for point in all_points if number == 1 else filter(is_repeated, all_points):
            print(
                f"pass {number}, {point.axis} {point.value:g}: {' '.join(point.options)}",
                file=sys.stderr,
            )
            rows += carry_out(point, number, options)
            write(options.out, rows)
    print(f"{heading_of(describe_machine(), days_of(rows))}\n")
    for axis in axes:
        print(f"{axis_table(axis, rows)}\n")


def is_repeated(point: Point) -> bool:
    """Whether a point is run in every pass; large networks, which take long, are in the first."""
    return point.axis != "model" or point.value <= LARGE


def carry_out(point: Point, number: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Run it; return the rows of its summary, which it has even where a backend failed."""
    out = options.out / f"{point.axis}-{point.value:g}-{number}"
    command = [sys.executable, "-m", "harness", "run", "--quiet"]
    if (out / JOURNAL).exists():  # what has ended is not trained again
        command += ["--resume", str(out)]
    else:
        command += ["--seeds", "1", "--backend", options.backend, "--device", options.device]
        command += [*point.options, "--out", str(out)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    if not (out / "summary.csv").exists():
        print(f"  no results: exit code {done.returncode}", file=sys.stderr)
        return []
    keys = {"axis": point.axis, "value": point.value, "pass": number}
    return [{**keys, **row} for row in read_rows(out / "summary.csv")]


def write(out: Path, rows: list[dict[str, Any]]) -> None:
    """Write all rows so far, and the plot of them."""
    with (out / "growth.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["axis", "value", "pass", *SUMMARY_COLUMNS])
        writer.writeheader()
        writer.writerows(rows)
    panels = [
        Panel(f"By {AXES[axis]}", AXES[axis], "images/s", lines)
        for axis in AXES
        if (lines := lines_of(axis, rows))
    ]
    if panels:
        write_svg(out / "growth.svg", panels)


Found = dict[float, list[float]]  # by value, images per second of each pass


def found_on(axis: str, rows: list[dict[str, Any]]) -> dict[str, Found]:
    """Return what was found along an axis by backend, and as `limit` the machine's limit."""
    lines: dict[str, Found] = {}
    limit: Found = {}
    for row in rows:
        if row["axis"] != axis:
            continue
        if row["limit_images_per_second"]:
            limit[row["value"]] = [row["limit_images_per_second"]]
        if row["status"] == "ok" and row["train_images_per_second"]:
            line = lines.setdefault(_label(row), {})
            line.setdefault(row["value"], []).append(row["train_images_per_second"])
    return {**lines, "limit": limit} if limit else lines


def lines_of(axis: str, rows: list[dict[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """Return what is plotted of `found_on`: points, value and median images per second."""
    lines = found_on(axis, rows)
    return {
        name: [(value, median(passes)) for value, passes in sorted(found.items())]
        for name, found in lines.items()
    }


def axis_table(axis: str, rows: list[dict[str, Any]]) -> str:
    """Return images per second, a line for each value, a column for each backend."""
    lines = found_on(axis, rows)
    values = sorted({value for found in lines.values() for value in found})
    cells = [
        [f"{value:,.0f}", *(_figure(found.get(value, [])) for found in lines.values())]
        for value in values
    ]
    return table((AXES[axis], *lines), cells)


def _label(row: dict[str, Any]) -> str:
    return f"{row['backend']}@{row['variant']}" if row["variant"] else str(row["backend"])


def _figure(passes: list[float]) -> str:
    if not passes:
        return ""
    spread = f" ({min(passes):,.0f} to {max(passes):,.0f})" if len(passes) > 1 else ""
    return f"{median(passes):,.0f}{spread}"


if __name__ == "__main__":
    main()
