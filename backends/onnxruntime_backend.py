"""ONNX Runtime: it predicts only, from the graph that `harness export-onnx` writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import numpy as np

from harness.contract import (
    Array,
    DeviceInfo,
    Floats,
    Gradients,
    Integers,
    Precision,
    Setting,
    SourceWriter,
    import_source,
)
from harness.spec import Spec, infer, onnx_graph

PROVIDERS = {"cpu": "CPUExecutionProvider", "gpu": "CUDAExecutionProvider"}


class OnnxRuntimeBackend:
    """`onnxruntime` runs the network as an ONNX graph, with all of its optimizations."""

    name = "onnxruntime"
    variants: ClassVar = {"": ("onnxruntime", "onnx")}
    in_all = False
    trains = False
    precisions: ClassVar = {"": ("float32",)}

    def prepare(self, variant: str, setting: Setting) -> None:
        """Import onnxruntime, and onnx, which makes the graph; a session has its own settings."""
        import onnx  # noqa: F401
        import onnxruntime

        onnxruntime.set_default_logger_severity(3)  # errors

    def versions(self) -> dict[str, str]:
        """Return the versions of onnxruntime and onnx."""
        import onnx
        import onnxruntime

        return {"onnxruntime": onnxruntime.__version__, "onnx": onnx.__version__}

    def devices(self) -> list[DeviceInfo]:
        """Return the CPU, and a GPU where the package was built for CUDA."""
        import onnxruntime

        found = [DeviceInfo("cpu", "cpu")]
        if PROVIDERS["gpu"] in onnxruntime.get_available_providers():
            found.append(DeviceInfo("gpu", "CUDA"))
        return found

    def source(self, spec: Spec, variant: str, precision: Precision = "float32") -> str:
        """Write the session's options and the call, and the graph that it runs, as a text."""
        import onnx

        network = infer(spec)
        everything = (*network.parameters, *network.statistics)
        model = onnx_graph(onnx, spec, {p.path: np.zeros(p.shape, np.float32) for p in everything})
        del model.graph.initializer[:]
        graph = onnx.printer.to_text(model.graph).rstrip()
        write = SourceWriter()
        write(f'"""{spec.name} in ONNX Runtime, as this graph:\n\n{graph}\n"""\n')
        write(SESSION)
        return write.text()

    def open(self, path: Path, spec: Spec, variant: str, setting: Setting) -> OnnxRuntimeSession:
        """Import the source; the graph is built when its parameters are known."""
        return OnnxRuntimeSession(import_source(path), spec, setting)


SESSION = '''import onnxruntime as ort


def make_session(model, threads, provider):
    """Load a serialized model, and optimize its graph for this machine."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1  # one operator after the other
    # Between two calls its threads sleep, and leave the cores to others.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # TF32 keeps ten bits of the mantissa; the spec's float32 means all twenty-three.
    settings = {"use_tf32": "0"} if provider == "CUDAExecutionProvider" else {}
    return ort.InferenceSession(model, options, providers=[(provider, settings)])


def predict(session, images):
    """Return the logits of images [n, ...], in evaluation mode."""
    return session.run(["logits"], {"images": images})[0]'''


class OnnxRuntimeSession:
    """A graph with its parameters in it, as a session of ONNX Runtime."""

    def __init__(self, module: Any, spec: Spec, setting: Setting) -> None:
        self.module = module
        self.spec = spec
        self.setting = setting
        self.session: Any = None
        self.parameters: dict[str, Floats] = {}

    def load(self, images: Floats, targets: Array) -> None:
        """Keep nothing: there is no training."""

    def reset(self, parameters: Mapping[str, Floats], seed: int) -> None:
        """Build the graph and a session; parameters are constants in it, for it to optimize.

        Raises:
            RuntimeError: the provider's libraries do not load; onnxruntime only warns of that, and
                takes the CPU instead.

        """
        import onnx

        self.parameters = {path: np.array(value) for path, value in parameters.items()}
        model = onnx_graph(onnx, self.spec, self.parameters).SerializeToString()
        provider = PROVIDERS[self.setting.device]
        self.session = self.module.make_session(model, self.setting.threads, provider)
        if provider not in (taken := self.session.get_providers()):
            raise RuntimeError(
                f"onnxruntime cannot load {provider} and took {', '.join(taken)}. "
                "Try: --device cpu, or install the CUDA and cuDNN that this onnxruntime wants"
            )

    def train(
        self,
        order: Integers,
        learning_rates: Floats,
        masks: Sequence[Mapping[str, Floats]] | None = None,
    ) -> Floats:
        """Refuse."""
        _refuse()

    def predict(self, images: Floats) -> Floats:
        """Return logits, in evaluation mode."""
        logits: Floats = self.module.predict(self.session, np.asarray(images, np.float32))
        return logits

    def activations(
        self,
        images: Floats,
        masks: Mapping[str, Floats] | None = None,
        training: bool = False,
    ) -> dict[str, Floats]:
        """Refuse: the optimized graph has not kept the layers."""
        _refuse()

    def gradients(
        self, images: Floats, targets: Array, masks: Mapping[str, Floats] | None = None
    ) -> Gradients:
        """Refuse."""
        _refuse()

    def state(self) -> dict[str, Floats]:
        """Return the parameters and statistics as they were given."""
        return {path: value.copy() for path, value in self.parameters.items()}

    def optimizer_state(self) -> dict[str, Floats]:
        """Return nothing: there is no optimizer."""
        return {}

    def peak_device_bytes(self) -> int | None:
        """Return nothing: its allocator does not tell."""
        return None

    def close(self) -> None:
        """Drop session and parameters."""
        self.session, self.parameters = None, {}


def _refuse() -> NoReturn:
    raise NotImplementedError("onnxruntime only predicts. Try: python -m harness infer")
