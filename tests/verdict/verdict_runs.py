"""Results folders as runs leave them, with figures that a test chooses."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from harness.run.folder import SAMPLE_COLUMNS, SUMMARY_COLUMNS

ROW = {
    "status": "ok",
    "backend": "torch",
    "versions": '{"torch": "2.11"}',
    "framework_version": "2.11",
    "model": "small",
    "model_hash": "m1",
    "dataset": "digits",
    "dataset_hash": "d1",
    "device": "cpu",
    "precision": "float32",
    "environment": "tuned",
    "threads": 2,
    "epochs": 1,
    "batch_size": 8,
    "order_hash": "o1",
    "init_hash": "i1",
    "equivalent": True,
    "compile_seconds": 1.5,
    "test_accuracy": 0.98,
    "peak_host_bytes": 500_000_000,
    "machine_key": "k1",
    "commit": "c" * 40,
    "dirty": False,
}


def write_run(
    folder: Path,
    number: int = 0,
    step: float = 0.01,
    rounds: int = 20,
    seeds: int = 3,
    backends: tuple[str, ...] = ("torch",),
    **columns: Any,
) -> Path:
    """Write a run whose steps take `step` seconds, give or take 1 % of noise that is `number`'s.

    A column that is a list has a value for each seed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    generator, run_id = np.random.default_rng(number), f"20260101-{number:06}-abcdef"
    with (folder / "summary.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, SUMMARY_COLUMNS)
        writer.writeheader()
        for backend in backends:
            for seed in range(seeds):
                chosen = {k: v[seed] if isinstance(v, list) else v for k, v in columns.items()}
                speed = {"train_images_per_second": 8 / step}
                row = {**ROW, **speed, "backend": backend, "run_id": run_id, "seed": seed}
                writer.writerow({**row, **chosen})
    with (folder / "samples.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, SAMPLE_COLUMNS)
        writer.writeheader()
        process = 1 + 0.01 * generator.standard_normal()
        for seed in range(seeds):
            for round_number in range(rounds):
                for backend in backends:
                    seconds = 4 * step * process * (1 + 0.01 * generator.standard_normal())
                    writer.writerow(
                        {
                            "run_id": run_id,
                            "backend": backend,
                            "device": "cpu",
                            "seed": seed,
                            "round": round_number,
                            "phase": "train",
                            "block": round_number,
                            "steps": 4,
                            "images": 32,
                            "seconds": seconds,
                        }
                    )
    return folder


def write_runs(folder: Path, count: int, first: int = 0, **options: Any) -> Path:
    """Write several runs side by side in `folder`."""
    for number in range(count):
        write_run(folder / f"run-{number:02}", first + number, **options)
    return folder
