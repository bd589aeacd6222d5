"""A run in the JSON of pytest-benchmark, which `pytest-benchmark compare` and its plug-in read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.verdict.files import CellKey, Run, RunCell

MEASURES = {"train": "a training step, from blocks of several", "predict": "a batch predicted"}
READ_AS = "5.3.1"  # the version of pytest-benchmark whose files these are like
Floats = NDArray[np.float64]


def as_pytest_benchmark(run: Run, machine: Mapping[str, Any]) -> str:
    """Return a benchmark for each cell and measure of a run: seconds of a step, of a batch.

    https://pytest-benchmark.readthedocs.io/en/stable/comparing.html. Cells that did not end well,
    or are not the reference's network, are left out, as are those without samples. `machine` is
    what `machine.json` holds, or nothing.
    """
    benchmarks = [entry for key, cell in run.items() for entry in _benchmarks(key, cell)]
    rows = [row for cell in run.values() for row in cell.rows]
    first: Mapping[str, Any] = rows[0] if rows else {}
    return (
        json.dumps(
            {
                "machine_info": {
                    "node": str(machine.get("machine_key", "")),
                    "machine": machine.get("architecture", ""),
                    "system": str(machine.get("system", "")).partition(" ")[0],
                    "python_implementation": "CPython",
                    "python_version": machine.get("python", ""),
                    "cpu": {
                        "brand_raw": machine.get("cpu", ""),
                        "count": machine.get("cpus", 0),
                        "arch": machine.get("architecture", ""),
                    },
                },
                "commit_info": {
                    "id": first.get("commit") or "unversioned",
                    "time": first.get("started_at"),
                    "dirty": bool(first.get("dirty")),
                },
                "benchmarks": benchmarks,
                "datetime": first.get("started_at"),
                "version": READ_AS,
            },
            indent=2,
            ensure_ascii=False,
        )
        + "\n"
    )


def _benchmarks(key: CellKey, cell: RunCell) -> Iterator[dict[str, Any]]:
    if not all(r.get("status") == "ok" and r.get("equivalent") is not False for r in cell.rows):
        return
    for measure, what in MEASURES.items():
        seconds = np.frombuffer(getattr(cell, measure).seconds, np.float64) * key.batch_size
        if len(seconds):
            yield {
                "group": measure,
                "name": f"{measure}[{key.label}]",
                "fullname": f"harness::{measure}[{key.label}]",
                "params": {"cell": key.label},
                "param": key.label,
                "extra_info": {"what": what, "seeds": len(cell.rows)},
                "options": {"disable_gc": False, "timer": "perf_counter", "warmup": True},
                "stats": statistics(seconds),
            }


def statistics(seconds: Floats | Sequence[float]) -> dict[str, Any]:
    """Return what pytest-benchmark says of some rounds.

    Outliers are counted twice: further than a standard deviation from the mean, and further than
    1.5 interquartile ranges from the quartiles (Tukey's fences); `ld15iqr` and `hd15iqr` are the
    least and the largest within these.
    """
    values = np.sort(np.asarray(seconds, np.float64))
    mean, (q1, q3) = float(values.mean()), np.quantile(values, (0.25, 0.75)).tolist()
    deviation = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    iqr = q3 - q1
    inside = values[(values >= q1 - 1.5 * iqr) & (values <= q3 + 1.5 * iqr)]
    far = int((np.abs(values - mean) > deviation).sum())
    outside = len(values) - len(inside)
    return {
        "min": float(values[0]),
        "max": float(values[-1]),
        "mean": mean,
        "stddev": deviation,
        "rounds": len(values),
        "median": float(np.median(values)),
        "iqr": iqr,
        "q1": q1,
        "q3": q3,
        "iqr_outliers": outside,
        "stddev_outliers": far,
        "outliers": f"{far};{outside}",
        "ld15iqr": float(inside[0]),
        "hd15iqr": float(inside[-1]),
        "ops": 1 / mean if mean > 0 else 0.0,
        "total": float(values.sum()),
        "iterations": 1,
        "data": values.tolist(),
    }
