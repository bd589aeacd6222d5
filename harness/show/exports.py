"""Results in the formats of other tools: one figure for each cell, measure and statistic."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Figure:
    """A measure that is exported: its column, what it is called elsewhere, and its unit.

    `low` and `high` are the columns of its interval, empty where there is none.
    """

    column: str
    name: str
    unit: str
    bigger_is_better: bool
    help: str
    low: str = ""
    high: str = ""


FIGURES = (
    Figure(
        "train_images_per_second",
        "training throughput",
        "images/s",
        True,
        "Images trained in a second, median over blocks.",
        "train_images_per_second_low",
        "train_images_per_second_high",
    ),
    Figure(
        "predict_images_per_second",
        "prediction throughput",
        "images/s",
        True,
        "Images predicted in a second, in batches.",
    ),
    Figure("test_accuracy", "test accuracy", "share", True, "Share of test images that are right."),
    Figure("step_ms_p50", "training step", "ms", False, "Time of a training step, median."),
    Figure("predict_ms_p50", "prediction", "ms", False, "Time to predict one image, median."),
    Figure(
        "compile_seconds",
        "first step",
        "s",
        False,
        "Time of the first training step, compilation included.",
    ),
    Figure("import_seconds", "import", "s", False, "Time to import the framework."),
    Figure("peak_host_bytes", "host memory", "bytes", False, "Most resident memory of the worker."),
    Figure("peak_device_bytes", "device memory", "bytes", False, "Most memory held on the GPU."),
)
CELL = ("backend", "variant", "device", "model", "dataset", "batch_size", "precision")


@dataclass(frozen=True)
class Value:
    """A figure of one cell: the median over the seeds that ended well, and its interval."""

    figure: Figure
    cell: Mapping[str, str]
    value: float
    low: float | None
    high: float | None
    seeds: int

    @property
    def label(self) -> str:
        """The cell in words."""
        name, variant = self.cell["backend"], self.cell["variant"]
        rest = [self.cell[column] for column in ("device", "model", "dataset")]
        batch, precision = self.cell["batch_size"], self.cell["precision"]
        return " ".join([f"{name}@{variant}" if variant else name, *rest, f"b{batch}", precision])


def values_of(rows: Sequence[Row]) -> list[Value]:
    """Return every figure that the rows of a summary hold, cell by cell.

    Rows of a backend that is not the reference's network are left out: nothing may be made of
    their speed.
    """
    cells: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        if row.get("status") == "ok" and row.get("equivalent") is not False:
            key = tuple("" if row.get(c) is None else str(row[c]) for c in CELL)
            cells.setdefault(key, []).append(row)
    found = []
    for key, own in cells.items():
        for figure in FIGURES:
            value = _median(own, figure.column)
            if value is not None:
                low, high = _median(own, figure.low), _median(own, figure.high)
                cell = dict(zip(CELL, key, strict=True))
                found.append(Value(figure, cell, value, low, high, len(own)))
    return found


def _median(rows: Sequence[Row], column: str) -> float | None:
    found = [float(row[column]) for row in rows if column and row.get(column) is not None]
    return median(found) if found else None


def as_action_benchmark(values: Sequence[Value], bigger_is_better: bool) -> str:
    """Return JSON for github-action-benchmark: its custom...IsBetter tools take one sort each.

    https://github.com/benchmark-action/github-action-benchmark#readme
    """
    return _json(
        [
            {
                "name": f"{v.label}: {v.figure.name}",
                "unit": v.figure.unit,
                "value": v.value,
                **({"range": f"{v.low:.6g} to {v.high:.6g}"} if v.low and v.high else {}),
                "extra": f"median of {v.seeds} seeds\n{v.figure.help}",
            }
            for v in values
            if v.figure.bigger_is_better == bigger_is_better
        ]
    )


def as_bencher(values: Sequence[Value]) -> str:
    """Return Bencher Metric Format: benchmarks, and their measures by slug.

    https://bencher.dev/docs/reference/bencher-metric-format
    """
    found: dict[str, dict[str, dict[str, float]]] = {}
    for v in values:
        metric = {"value": v.value}
        if v.low is not None and v.high is not None:
            metric |= {"lower_value": v.low, "upper_value": v.high}
        slug = v.figure.name.replace(" ", "-")
        found.setdefault(v.label, {})[slug] = metric
    return _json(found)


def as_openmetrics(values: Sequence[Value]) -> str:
    """Return OpenMetrics text: a gauge for each figure, in base units, and `# EOF` at the end.

    https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md
    """
    lines = []
    for figure in FIGURES:
        own = [v for v in values if v.figure is figure]
        if not own:
            continue
        name, unit, factor = _metric(figure)
        lines += [f"# TYPE {name} gauge", f"# UNIT {name} {unit}"]
        lines.append(f"# HELP {name} {_escape(figure.help)}")
        for v in own:
            labels = ",".join(f'{key}="{_escape(text)}"' for key, text in v.cell.items())
            lines.append(f"{name}{{{labels}}} {v.value * factor!r}")
    return "\n".join([*lines, "# EOF", ""])


def _metric(figure: Figure) -> tuple[str, str, float]:
    """Return name, unit and factor to that unit: OpenMetrics wants the unit as the name's end."""
    base = f"cnn_harness_{figure.name.replace(' ', '_')}"
    unit, factor = {
        "images/s": ("images_per_second", 1.0),
        "share": ("ratio", 1.0),
        "ms": ("seconds", 0.001),
        "s": ("seconds", 1.0),
        "bytes": ("bytes", 1.0),
    }[figure.unit]
    return f"{base}_{unit}", unit, factor


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _json(content: Any) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


FORMATS: dict[str, Callable[[Sequence[Value]], str]] = {
    "bigger-is-better": lambda values: as_action_benchmark(values, True),
    "smaller-is-better": lambda values: as_action_benchmark(values, False),
    "bencher": as_bencher,
    "openmetrics": as_openmetrics,
}
