"""The NumPy reference in a worker, alive for the whole session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from harness.contract import Setting
from harness.registry import describe
from harness.run.arrays import write_arrays
from harness.run.environment import worker_environment
from harness.run.process import WorkerProcess
from harness.spec import Spec, infer

ROOT = Path(__file__).parents[2]


class Reference:
    """Asks the worker for logits."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (info,) = [info for info in describe() if info.label == "numpy"]
        environment = worker_environment("stock", 1)
        paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        self.worker = WorkerProcess("numpy", folder / "numpy.log", environment, cpus=2)
        setting = asdict(Setting("cpu", "float64", 1))
        self.worker.ask("prepare", {}, timeout=60, target=info.target, variant="", setting=setting)

    def logits(self, spec: Spec, parameters: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
        outputs = infer(spec).output_shape[0]
        kind = np.int32 if spec.training.loss == "cross_entropy" else np.float32
        shape = (len(x),) if kind == np.int32 else (len(x), outputs)
        targets = np.zeros(shape, kind)
        write_arrays(
            self.folder,
            {
                "train_images": x,
                "train_targets": targets,
                "test_images": x,
                "test_targets": targets,
            },
        )
        source = self.folder / f"{spec.name}.py"
        ask, places = self.worker.ask, {"source": str(source), "data": str(self.folder)}
        ask("open", {}, timeout=60, spec=spec.model_dump_json(), **places)
        ask("reset", parameters, timeout=60, seed=0)
        batch = {"split": "test", "batch_size": len(x), "logits": True}
        found = ask("evaluate", {}, timeout=300, **batch)[1]["logits"]
        ask("close", {}, timeout=60)
        return found


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reference]:
    found = Reference(tmp_path_factory.mktemp("reference"))
    yield found
    found.worker.close()
