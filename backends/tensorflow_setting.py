"""Device, threads and precision of a process with TensorFlow, for the backends that run on it."""

from __future__ import annotations

import os
from contextlib import suppress

from harness.contract import Setting
from harness.spec import Spec, infer


def prepare_tensorflow(setting: Setting) -> None:
    """Import TensorFlow, and set device, threads within an operation, and precision."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # no greetings, but errors
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")[: setting.device == "gpu"]
    tf.config.set_visible_devices(gpus, "GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    tf.config.threading.set_intra_op_parallelism_threads(setting.threads)
    # TF32 keeps ten bits of the mantissa; the spec's float32 means all twenty-three.
    tf.config.experimental.enable_tensor_float_32_execution(setting.precision == "tf32")


def operations_at_once(spec: Spec, setting: Setting) -> int:
    """Return how many operations may run beside each other: more than one in a network of branches.

    In a plain chain they follow one another, and a second one in flight, such as the gradients of a
    kernel and of its input, takes cores from the first: with two threads instead of one,
    `mnist-1conv` takes 3 % longer on two cores. In `resnet-20`, of many small operations, the two
    threads save 5 %. See docs/performance.md.
    """
    has_branches = any(block.kind in ("residual", "concat") for block in infer(spec).blocks)
    return setting.threads if has_branches else 1


def set_operations_at_once(spec: Spec, setting: Setting) -> None:
    """Set that for the process.

    TensorFlow can be told once, before its first operation; what comes later changes nothing.
    """
    import tensorflow as tf

    with suppress(RuntimeError):
        tf.config.threading.set_inter_op_parallelism_threads(operations_at_once(spec, setting))
