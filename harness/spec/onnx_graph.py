"""From a spec and its parameters to an ONNX model: evaluation mode, NHWC in, logits out.

ONNX knows images as NCHW only, so one Transpose comes first, and one before each layer that
looks at pixels in the spec's order: flatten and layer_norm. Nodes are called by the paths of
their layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import harness
from harness.spec.layers import (
    LEAKY_SLOPE,
    Activation,
    AvgPool,
    BatchNorm,
    ChannelScale,
    Conv,
    Conv2DTranspose,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    GroupNorm,
    LayerNorm,
    MaxPool,
)
from harness.spec.model import Spec
from harness.spec.network import infer
from harness.spec.nodes import Block, Node, Part

if TYPE_CHECKING:
    from onnx import ModelProto

Array = NDArray[Any]

OPSET = 21  # the first whose GroupNormalization has a scale for each channel; Gelu came with 20
IR_VERSION = 10  # the format that belongs to this opset
INPUT, OUTPUT = "images", "logits"

# Activations that are one node: its kind and attributes.
ACTIVATIONS: dict[Activation, tuple[str, dict[str, Any]]] = {
    "relu": ("Relu", {}),
    "leaky_relu": ("LeakyRelu", {"alpha": LEAKY_SLOPE}),
    "elu": ("Elu", {"alpha": 1.0}),
    "gelu": ("Gelu", {"approximate": "none"}),
    "gelu_tanh": ("Gelu", {"approximate": "tanh"}),
    "tanh": ("Tanh", {}),
    "sigmoid": ("Sigmoid", {}),
    "hard_swish": ("HardSwish", {}),
    "softmax": ("Softmax", {"axis": 1}),  # the channels, of an image and of what is flat
}


def onnx_graph(onnx: Any, spec: Spec, arrays: Mapping[str, Array]) -> ModelProto:
    """Return the model, made with the module `onnx`.

    `arrays`, parameters and statistics by path, are in canonical layout, and become float32.
    """
    network = infer(spec)
    graph = _Graph(onnx, arrays)
    last = graph.run(network.parts, graph.channels_first(INPUT, len(spec.input), "to_nchw"))
    graph.node("Identity", [last], OUTPUT)
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    model: ModelProto = helper.make_model(
        helper.make_graph(
            graph.nodes,
            spec.name,
            [helper.make_tensor_value_info(INPUT, kind, ["n", *network.input_shape])],
            [helper.make_tensor_value_info(OUTPUT, kind, ["n", *network.output_shape])],
            graph.initializers,
            doc_string=spec.description,
        ),
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="cnn-harness",
        producer_version=harness.__version__,
    )
    helper.set_model_props(model, {"spec_name": spec.name, "spec_hash": spec.hash})
    return model


class _Graph:
    """Nodes and arrays as they come; every method returns the name of a node's output.

    A node and its output share a name: the layer's path, or that and a word behind a slash.
    """

    def __init__(self, onnx: Any, arrays: Mapping[str, Array]) -> None:
        self.onnx, self.arrays = onnx, arrays
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def node(self, kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        """Add one node."""
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def array(self, name: str, value: Any, kind: type[np.generic] = np.float32) -> str:
        """Add an array."""
        plain = np.asarray(value, kind, order="C")
        self.initializers.append(self.onnx.numpy_helper.from_array(plain, name))
        return name

    def parameter(self, node: Node, role: str, size: int = 0, default: float = 0.0) -> str:
        """Add a layer's array as it is; where there is none, `size` times the default."""
        name = f"{node.path}.{role}"
        return self.array(name, self.arrays.get(name, np.full(size, default)))

    def channels_first(self, x: str, rank: int, name: str) -> str:
        """Move the channels, the last of `rank` axes beside the images', before the others."""
        return self.node("Transpose", [x], name, perm=(0, rank, *range(1, rank)))

    def channels_last(self, x: str, rank: int, name: str) -> str:
        """Move the channels behind the other axes, as in the spec."""
        return self.node("Transpose", [x], name, perm=(0, *range(2, rank + 1), 1))

    def reshape(self, x: str, shape: tuple[int, ...], name: str) -> str:
        """Reshape each image; 0 in `shape` keeps an axis, -1 takes what is left."""
        return self.node("Reshape", [x, self.array(f"{name}.shape", shape, np.int64)], name)

    def run(self, parts: tuple[Part, ...], x: str) -> str:
        """Add layers and blocks one after the other."""
        for part in parts:
            x = self._block(part, x) if isinstance(part, Block) else self._layer(part, x)
        return x

    def _block(self, block: Block, x: str) -> str:
        match block.kind:
            case "sequence":
                return self.run(block.branches[0], x)
            case "gate":
                gate = self.run(block.branches[0], x)
                pixel = (1,) * (len(block.input_shape) - 1)
                gate = self.reshape(gate, (0, -1, *pixel), f"{block.path}/channels")
                y = self.node("Mul", [x, gate], f"{block.path}/gated")
            case "residual":
                y = self.node("Add", self._branches(block, x), f"{block.path}/sum")
            case "concat":
                y = self.node("Concat", self._branches(block, x), f"{block.path}/concat", axis=1)
        return self._activation(block.activation, y, block.path)

    def _branches(self, block: Block, x: str) -> list[str]:
        return [self.run(branch, x) for branch in block.branches]

    def _layer(self, node: Node, x: str) -> str:
        y = self._before_activation(node, x)
        return self._activation(node.activation, y, node.path)

    def _before_activation(self, node: Node, x: str) -> str:
        name = node.path
        match node.layer:
            case Conv() as layer:
                inputs = [x, self._kernel(node)]
                if layer.bias:
                    inputs.append(self.parameter(node, "bias"))
                return self.node(
                    "Conv",
                    inputs,
                    name,
                    strides=layer.stride,
                    pads=_pads(node),
                    dilations=layer.dilation,
                    group=layer.groups,
                    kernel_shape=layer.kernel,
                )
            case MaxPool() as layer:
                return self._pool("MaxPool", node, layer, x)
            case AvgPool() as layer:
                return self._pool("AveragePool", node, layer, x, count_include_pad=0)
            case GlobalAvgPool() | GlobalMaxPool() as layer:
                kind = "Average" if isinstance(layer, GlobalAvgPool) else "Max"
                pooled = self.node(f"Global{kind}Pool", [x], f"{name}/pool")
                return self.node("Flatten", [pooled], name, axis=1)
            case BatchNorm() | LayerNorm() | GroupNorm():
                return self._norm(node, x)
            case ChannelScale():
                channels = node.input_shape[-1]
                shape = (channels, *(1,) * (len(node.input_shape) - 1))
                scale = self.array(f"{name}.scale", self.arrays[f"{name}.scale"].reshape(shape))
                return self.node("Mul", [x, scale], name)
            case Flatten():
                if _is_image(node):
                    x = self.channels_last(x, len(node.input_shape), f"{name}/to_nhwc")
                return self.node("Flatten", [x], name, axis=1)
            case Dense() as layer:
                inputs = [x, self.parameter(node, "kernel")]
                if layer.bias:
                    inputs.append(self.parameter(node, "bias"))
                return self.node("Gemm", inputs, name)
            case Dropout() as layer:
                return self.node("Dropout", [x, self.array(f"{name}.rate", layer.rate)], name)
            case Conv2DTranspose() as layer:
                kernel = self.arrays[f"{name}.kernel"].transpose(2, 3, 0, 1)
                inputs = [x, self.array(f"{name}.kernel", kernel)]
                if layer.bias:
                    inputs.append(self.parameter(node, "bias"))
                sizes: dict[str, Any] = {"kernel_shape": layer.kernel, "strides": layer.stride}
                # "same" cuts less than nothing where the stride is larger than the kernel.
                sizes["pads"] = [max(0, cut) for cut in _pads(node)]
                sizes["output_padding"] = [max(0, -after) for _, after in node.pads]
                return self.node("ConvTranspose", inputs, name, **sizes)
            case _:
                return x

    def _kernel(self, node: Node) -> str:
        """`[kh, kw, in/groups, out]` as `[out, in/groups, kh, kw]`, of any number of axes."""
        name = f"{node.path}.kernel"
        *sides, inside, out = range(self.arrays[name].ndim)
        return self.array(name, self.arrays[name].transpose(out, inside, *sides))

    def _pool(self, kind: str, node: Node, layer: MaxPool | AvgPool, x: str, **more: int) -> str:
        windows = {"kernel_shape": layer.size, "strides": layer.steps, "pads": _pads(node)}
        return self.node(kind, [x], node.path, **windows, **more)

    def _norm(self, node: Node, x: str) -> str:
        name, channels = node.path, node.input_shape[-1]
        scale = self.parameter(node, "scale", channels, 1.0)
        offset = self.parameter(node, "offset", channels)
        match node.layer:
            case BatchNorm() as layer:
                inputs = [
                    x,
                    scale,
                    offset,
                    *(self.parameter(node, r) for r in ("mean", "variance")),
                ]
                return self.node(
                    "BatchNormalization",
                    inputs,
                    name,
                    epsilon=layer.epsilon,
                    momentum=layer.decay,
                )
            case LayerNorm() as layer:
                if not _is_image(node):
                    inputs = [x, scale, offset]
                    return self.node(
                        "LayerNormalization", inputs, name, axis=-1, epsilon=layer.epsilon
                    )
                rank = len(node.input_shape)
                inputs = [self.channels_last(x, rank, f"{name}/to_nhwc"), scale, offset]
                y = self.node(
                    "LayerNormalization", inputs, f"{name}/norm", axis=-1, epsilon=layer.epsilon
                )
                return self.channels_first(y, rank, name)
            case GroupNorm() as layer:
                kind, what = "GroupNormalization", {"epsilon": layer.epsilon}
                what |= {"num_groups": layer.groups}
                if _is_image(node):
                    return self.node(kind, [x, scale, offset], name, **what)
                # It wants pixels behind the channels.
                inputs = [self.reshape(x, (0, 0, 1), f"{name}/pixel"), scale, offset]
                y = self.node(kind, inputs, f"{name}/norm", **what)
                return self.reshape(y, (0, channels), name)
        raise AssertionError(node.layer)

    def _activation(self, function: Activation, x: str, path: str) -> str:
        name = f"{path}/{function}"
        match function:
            case "linear":
                return x
            case "relu6":
                bounds = [self.array(f"{name}.{k}", v) for k, v in (("low", 0.0), ("high", 6.0))]
                return self.node("Clip", [x, *bounds], name)
            case "silu":
                sigmoid = self.node("Sigmoid", [x], f"{name}/sigmoid")
                return self.node("Mul", [x, sigmoid], name)
        kind, attributes = ACTIVATIONS[function]
        return self.node(kind, [x], name, **attributes)


def _is_image(node: Node) -> bool:
    return len(node.input_shape) > 1


def _pads(node: Node) -> list[int]:
    """ONNX has all that comes before, then all that comes after."""
    return [before for before, _ in node.pads] + [after for _, after in node.pads]
