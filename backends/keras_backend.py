"""Keras 3: one Sequential model, on TensorFlow, JAX or PyTorch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar, get_args

from backends.keras_program import keras_dialect
from backends.keras_session import SESSIONS, KerasSession
from backends.keras_source import keras_source
from backends.programs import write_program
from backends.tensorflow_setting import prepare_tensorflow, set_operations_at_once
from backends.xla_tuning import tuned_xla
from harness.contract import DeviceInfo, Precision, Setting, import_source
from harness.spec import Spec


class KerasBackend:
    """`keras` is Keras on TensorFlow; the other variants are named by what they stand on."""

    name = "keras"
    variants: ClassVar = {
        "": ("keras", "tensorflow"),
        "jax": ("keras", "jax"),
        "torch": ("keras", "torch"),
    }
    in_all = True
    precisions: ClassVar = {
        "": get_args(Precision),
        "jax": ("float32", "tf32", "float64"),  # in bfloat16, sums would be of bfloat16
        "torch": ("float32", "tf32", "float64"),
    }
    tuned: ClassVar = {"jax": tuned_xla()}

    def prepare(self, variant: str, setting: Setting) -> None:
        """Import Keras on its framework, and set device, threads and full float32 precision.

        Raises:
            RuntimeError: this process has Keras already, on another framework.

        """
        framework = variant or "tensorflow"
        os.environ["KERAS_BACKEND"] = framework
        PREPARE[framework](setting)
        import keras

        if keras.config.backend() != framework:
            raise RuntimeError(
                f"Keras runs on {keras.config.backend()!r} in this process; "
                f"for {framework!r} start another one"
            )
        keras.config.set_floatx(setting.storage)
        keras.config.set_dtype_policy(setting.storage)  # the source sets that of bfloat16
        if setting.precision == "float64":
            _keep_float64()
        keras.config.set_image_data_format("channels_last")  # whatever the user's keras.json says

    def versions(self) -> dict[str, str]:
        """Return Keras's version, and those of what it stands on."""
        import keras

        versions = {"keras": keras.__version__}
        match keras.config.backend():
            case "tensorflow":
                import tensorflow as tf

                cuda = tf.sysconfig.get_build_info().get("cuda_version", "none")
                return {**versions, "tensorflow": tf.__version__, "cuda": cuda}
            case "jax":
                import jax
                import jaxlib

                return {**versions, "jax": jax.__version__, "jaxlib": jaxlib.__version__}
            case _:
                import torch

                cuda = torch.version.cuda or "none"
                return {**versions, "torch": torch.__version__, "cuda": cuda}

    def devices(self) -> list[DeviceInfo]:
        """Return the CPU, and the first GPU that the framework sees.

        On JAX that is none after `prepare` for the CPU, as then no GPU is even initialised.
        """
        return [DeviceInfo("cpu", "cpu"), *(DeviceInfo("gpu", name) for name in _gpus()[:1])]

    def source(self, spec: Spec, variant: str, precision: Precision = "float32") -> str:
        """Write the model, the loss, the optimizer and the training loop."""
        return keras_source(spec, variant or "tensorflow", mixed=precision == "bfloat16")

    def script(self, spec: Spec, variant: str) -> str:
        """Write the source as a program."""
        return write_program(spec, self.source(spec, variant), keras_dialect(spec, variant))

    def open(self, path: Path, spec: Spec, variant: str, setting: Setting) -> KerasSession:
        """Build the model on the setting's device."""
        if not variant:
            set_operations_at_once(spec, setting)
        return SESSIONS[variant or "tensorflow"](import_source(path), spec, setting)


def _prepare_jax(setting: Setting) -> None:
    """Set all but the threads: XLA uses as many as the process may use cores."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import jax

    if setting.device == "cpu":
        jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", setting.precision == "float64")
    products = "tensorfloat32" if setting.precision == "tf32" else "highest"
    jax.config.update("jax_default_matmul_precision", products)


def _prepare_torch(setting: Setting) -> None:
    os.environ["KERAS_TORCH_DEVICE"] = "cuda" if setting.device == "gpu" else "cpu"
    import torch

    torch.set_num_threads(setting.threads)
    torch.backends.cuda.matmul.allow_tf32 = setting.precision == "tf32"
    torch.backends.cudnn.allow_tf32 = setting.precision == "tf32"
    torch.backends.cudnn.benchmark = True


def _keep_float64() -> None:
    """Let float64 times float64 be float64.

    On all but TensorFlow, Keras's type promotion answers in float32, as JAX does by default, and
    keras.ops.matmul then computes in it. There is no public switch.
    """
    from keras.src.backend.common import dtypes

    dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"


PREPARE: dict[str, Any] = {
    "tensorflow": prepare_tensorflow,
    "jax": _prepare_jax,
    "torch": _prepare_torch,
}


def _gpus() -> list[str]:
    """Return what the makers of the GPUs call them."""
    import keras

    match keras.config.backend():
        case "tensorflow":
            import tensorflow as tf

            details = tf.config.experimental.get_device_details
            gpus = tf.config.list_physical_devices("GPU")
            return [details(gpu).get("device_name", gpu.name) for gpu in gpus]
        case "jax":
            import jax

            return [device.device_kind for device in jax.devices() if device.platform == "gpu"]
        case _:
            import torch

            return [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
