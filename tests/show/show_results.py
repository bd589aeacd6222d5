"""Results folders as a run writes them, with measurements that are made up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.run.checked import network_hash
from harness.run.folder import ResultsFolder
from harness.spec import Spec, infer, load_spec

BASELINES = Path(__file__).parents[2] / "results" / "baselines"
SPEEDS = {"tensorflow": 2000.0, "torch": 1000.0}  # images per second
BLOCKS, STEPS, BATCH = 8, 4, 100
NOISE = (1.0, 1.02, 0.98, 1.01, 0.99)
HOSTILE = '</script><img src=x onerror="window.hit=1">{{ 7*7 }}\'"&<!--'


def spec_of(model: str = "mnist-1conv", epochs: int = 3, batch_size: int = BATCH) -> Spec:
    spec = load_spec(model)
    changes = {"epochs": epochs, "batch_size": batch_size}
    return spec.model_copy(update={"training": spec.training.model_copy(update=changes)})


def write_results(
    path: Path,
    speeds: Mapping[str, float] = SPEEDS,
    *,
    seeds: int = 1,
    epochs: int = 3,
    model: str = "mnist-1conv",
    batch_size: int = BATCH,
    started_at: str = "2026-01-02T03:04:05.000+00:00",
    devices: tuple[str, ...] = ("cpu",),
    changes: Mapping[str, Mapping[str, Any]] = {},
    accuracies: Mapping[str, float] = {},
) -> Path:
    """Write a folder; `changes` are columns by backend, `accuracies` those after the last epoch.

    Accuracy rises by a tenth in each epoch before; losses are its complement.
    """
    spec = spec_of(model, epochs, batch_size)
    folder = ResultsFolder(path)
    rows = []
    for seed in range(seeds):
        for device in devices:
            for name, speed in speeds.items():
                cell = cell_of(name, device) | {"seed": seed}
                final = accuracies.get(name, 0.97) + 0.001 * seed
                rate = speed * (10 if device == "gpu" else 1)
                samples = _samples(rate, seed, epochs, batch_size, final, started_at)
                folder.add_samples([{**cell, **sample} for sample in samples])
                sound = _row(spec, rate, final, batch_size, epochs, started_at)
                rows.append({**cell, **sound, **changes.get(name, {})})
    folder.write_summary(rows)
    folder.write_json("machine.json", MACHINE)
    folder.write_json("spec.json", spec.model_dump(mode="json"))
    folder.close()
    return path


MACHINE = {
    "cpu": "Imaginary 9000",
    "cpus_available": 4,
    "memory_bytes": 16_000_000_000,
    "gpus": [],
    "system": "Linux 1.2.3",
    "python": "3.11.7",
    "harness": "0.1.0",
    "command": "python -m harness run --backend all",
}


# What a run notes of such a machine's limits: operations and bytes per second.
PEAK, CACHE, MEMORY = 4e11, 8e10, 2e10
PEAKS = {
    "version": 1,
    "harness": "0.1.0",
    "machine_key": "abcdef012345",
    "device": "cpu",
    "threads": 4,
    "precision": "float32",
    "flops": PEAK,
    "flops_by": "torch convolution 8",
    "bandwidths": [[2**20, CACHE], [2**29, MEMORY]],
    "measured_at": "2026-01-01T00:00:00+00:00",
    "versions": {},
    "found": {},
}


def beside_limit(speeds: Mapping[str, float], limit: float) -> dict[str, dict[str, float]]:
    """Columns by backend: a limit in images per second, and the share of it that was reached."""
    return {
        name: {"limit_images_per_second": limit, "fraction_of_limit": speed / limit}
        for name, speed in speeds.items()
    }


def change_machine(folder: Path, **facts: Any) -> Path:
    """Change what a folder says of its machine."""
    path = folder / "machine.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))
    return folder


FINDING = {
    "cell": "torch → torch [HEAD~1]",
    "measure": "train",
    "verdict": "REGRESSED",
    "detail": "p = 0.0039 after 8 pairs, allowed 0.0078",
    "pairs": 8,
    "ratio": 1.1,
    "low": 1.05,
    "high": 1.15,
}


def verdict_on(spec: Spec, **changes: Any) -> dict[str, Any]:
    """What `ab` writes, as far as a page needs it, of the network and data of `write_results`."""
    return {
        "title": "torch → torch [HEAD~1]: mnist-1conv, digits, cpu, 2 cores",
        "findings": [FINDING],
        "finished_at": "2026-01-03T00:00:00.000+00:00",
        "network_hash": network_hash(spec),
        "model_hash": spec.hash,
        "dataset_hash": "d" * 16,
        "batch_size": BATCH,
        "precision": "float32",
        "environment": "tuned",
        "machine_key": "abcdef012345",
        "device": "cpu",
        **changes,
    }


def cell_of(name: str, device: str = "cpu") -> dict[str, Any]:
    backend, _, variant = name.partition("@")
    return {"backend": backend, "variant": variant, "device": device}


def _samples(
    rate: float, seed: int, epochs: int, batch: int, final: float, started_at: str
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    images = STEPS * batch
    for epoch in range(1, epochs + 1):
        accuracy = final - 0.1 * (epochs - epoch)
        for block in range(BLOCKS):
            number = (epoch - 1) * BLOCKS + block
            found.append(
                {
                    "phase": "train",
                    "round": number,
                    "position": 0,
                    "epoch": epoch,
                    "block": number,
                    "steps": STEPS,
                    "images": images,
                    "seconds": images / rate * NOISE[(number + seed) % len(NOISE)],
                    "loss": 2.0 / (1 + number),
                    "started_at": started_at,
                }
            )
        found.append(
            {
                "phase": "test",
                "epoch": epoch,
                "images": 1000,
                "seconds": 0.5,
                "loss": 1.0 - accuracy,
                "accuracy": accuracy,
                "started_at": started_at,
            }
        )
    return found


def _row(
    spec: Spec, rate: float, final: float, batch: int, epochs: int, started_at: str
) -> dict[str, Any]:
    network = infer(spec)
    return {
        "started_at": started_at,
        "status": "ok",
        "framework_version": "1.2.3",
        "versions": json.dumps({"framework": "1.2.3"}),
        "model": spec.name,
        "model_hash": spec.hash,
        "dataset": "digits",
        "dataset_hash": "d" * 16,
        "precision": "float32",
        "environment": "tuned",
        "threads": 4,
        "epochs": epochs,
        "batch_size": batch,
        "parameters": network.parameter_count,
        "flops_per_image": network.flops_per_image,
        "equivalent": True,
        "equivalence_difference": 1e-6,
        "equivalence_where": "logits",
        "checked": "not checked",
        "import_seconds": 1.5,
        "build_seconds": 0.25,
        "compile_seconds": 0.75,
        "warmup_seconds": 0.5,
        "train_seconds": epochs * BLOCKS * STEPS * batch / rate,
        "eval_seconds": 0.5,
        "train_images_per_second": rate,
        "train_images_per_second_low": 0.98 * rate,
        "train_images_per_second_high": 1.02 * rate,
        "predict_images_per_second": 3 * rate,
        "predict_ms_p50": 1000 / rate,
        "predict_ms_p99": 2000 / rate,
        "peak_host_bytes": 400_000_000,
        "test_accuracy": final,
        "test_loss": 1.0 - final,
        "machine_key": "abcdef012345",
        "commit": "0123456789abcdef",
        "dirty": False,
    }
