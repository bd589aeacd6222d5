"""The initial weights of a Flax source, for whoever trains it without the harness.

nnx draws kernels by lecun_normal, which is truncated; biases begin at zero.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.spec import Conv, Network, Node, Spec, constant_of

SCALES = {"glorot": '1.0, "fan_avg"', "he": '2.0, "fan_in"', "lecun": '1.0, "fan_in"'}
GROUPED = '''def grouped_init(groups):
    """As kernel_init, but each group has outputs of its own; JAX would count those of all."""
    draw = {draw}

    def init(key, shape, dtype):
        *window, inputs, outputs = shape
        return draw(key, (*window, inputs, groups, outputs // groups), dtype).reshape(shape)

    return init

'''
AXES = "in_axis=-3, out_axis=-1, batch_axis=-2"


@dataclass(frozen=True)
class Initializers:
    """What the constructors of kernels and biases are given, where nnx's default is otherwise."""

    spec: Spec

    def arguments(self, node: Node) -> list[str]:
        """Return the arguments for one layer."""
        found = []
        for parameter in node.parameters:
            if parameter.role == "bias" and constant_of(self.spec.bias_initializer):
                found.append("bias_init=bias_init")
            elif parameter.role == "kernel" and self._draws_by_groups(node):
                assert isinstance(node.layer, Conv)
                found.append(f"kernel_init=grouped_init({node.layer.groups})")
            elif parameter.role == "kernel" and self.spec.initializer != "lecun_truncated":
                found.append("kernel_init=kernel_init")
        return found

    def texts(self, network: Network) -> list[str]:
        """Return what defines them, and ends in two empty lines: the first ends the imports."""
        given = {argument for node in network.nodes for argument in self.arguments(node)}
        lines = []
        if "kernel_init=kernel_init" in given:
            lines.append(f"kernel_init = {self._kernel_init()}")
        if "bias_init=bias_init" in given:
            value = constant_of(self.spec.bias_initializer)
            lines.append(f"bias_init = nnx.initializers.constant({value!r})")
        texts = ["\n".join([*lines, "", ""]) if lines else ""]
        if any("grouped_init" in argument for argument in given):
            texts.append(GROUPED.format(draw=self._drawn(AXES)))
        return texts

    def _draws_by_groups(self, node: Node) -> bool:
        is_glorot = str(self.spec.initializer).startswith("glorot")
        return is_glorot and isinstance(node.layer, Conv) and node.layer.groups != 1

    def _kernel_init(self) -> str:
        value = constant_of(self.spec.initializer)
        if value is None:
            return self._drawn()
        return f"nnx.initializers.constant({value!r})" if value else "nnx.initializers.zeros"

    def _drawn(self, axes: str = "") -> str:
        scheme, distribution = str(self.spec.initializer).split("_")
        if distribution == "normal":  # nnx's of that name is truncated
            options = f'{SCALES[scheme]}, "normal"{", " if axes else ""}{axes}'
            return f"nnx.initializers.variance_scaling({options})"
        name = "normal" if distribution == "truncated" else distribution
        return f"nnx.initializers.{scheme}_{name}({axes})"
