"""The initial weights of a PyTorch source, for whoever trains it without the harness.

Torch's own ones are He's, uniform and divided by six, of biases too.
"""

from __future__ import annotations

from harness.contract import SourceWriter
from harness.spec import Conv, Conv2DTranspose, Dense, Network, Spec, constant_of

TRUNCATED_SD = 0.87962566103423978  # of a standard normal variable that is kept within two
OWN = {  # by scheme: torch's name, what follows the weight, and the authors
    "glorot": ("xavier", "", "Glorot and Bengio (2010)"),
    "he": ("kaiming", ', nonlinearity="relu"', "He et al. (2015)"),
    "lecun": ("kaiming", ', nonlinearity="linear"', "LeCun et al. (1998)"),
}
VARIANCES = {"glorot": "2 / (fan_in + fan_out)", "he": "2 / fan_in", "lecun": "1 / fan_in"}
DRAWS = {
    "uniform": ["nn.init.uniform_(weight, -(3**0.5) * std, 3**0.5 * std)"],
    "normal": ["nn.init.normal_(weight, std=std)"],
    "truncated": [
        "# What is beyond two standard deviations is drawn again: that leaves .88 of one.",
        f"std /= {TRUNCATED_SD!r}",
        "nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)",
    ],
}
MODE = 'mode = "fan_out" if isinstance(module, nn.ConvTranspose2d) else "fan_in"'


def write_initializer(write: SourceWriter, spec: Spec, network: Network) -> bool:
    """Write the function that sets a module's weights; return whether there is one."""
    layers = [node.layer for node in network.nodes]
    kinds = {_kind(layer): None for layer in layers if isinstance(layer, _WITH_KERNEL)}
    if not kinds:
        return False
    biases = [layer.bias for layer in layers if isinstance(layer, _WITH_KERNEL)]
    lines, words = _kernel(spec, layers)
    if any(biases):
        constant = constant_of(spec.bias_initializer) or 0.0
        words += f"; biases begin at {constant:g}" if constant else "; biases begin at zero"
    write("def initialize(module):")
    write(f'"""{words}."""', 1)
    write(f"if isinstance(module, {' | '.join(kinds)}):", 1)
    for line in lines:
        write(line, 2)
    if any(biases):
        if not all(biases):
            write("if module.bias is not None:", 2)
        write(_constant("module.bias", constant), 3 - all(biases))
    write("\n")
    return True


_WITH_KERNEL = (Conv, Conv2DTranspose, Dense)


def _kind(layer: object) -> str:
    if isinstance(layer, Conv):
        return f"nn.Conv{len(layer.kernel)}d"
    return "nn.Linear" if isinstance(layer, Dense) else "nn.ConvTranspose2d"


def _constant(tensor: str, value: float) -> str:
    return f"nn.init.constant_({tensor}, {value!r})" if value else f"nn.init.zeros_({tensor})"


def _kernel(spec: Spec, layers: list[object]) -> tuple[list[str], str]:
    """Return the statements that set a kernel, and what the docstring says of it."""
    if (value := constant_of(spec.initializer)) is not None:
        words = f"Kernels begin at {value:g}" if value else "Kernels begin at zero"
        return [_constant("module.weight", value)], words
    scheme, distribution = str(spec.initializer).split("_")
    name, options, authors = OWN[scheme]
    words = f"Draw kernels by the {distribution} scheme of {authors}"
    is_grouped = any(isinstance(layer, Conv) and layer.groups != 1 for layer in layers)
    is_transposed = any(isinstance(layer, Conv2DTranspose) for layer in layers)
    if distribution == "truncated" or (scheme == "glorot" and is_grouped):
        return _by_hand(scheme, distribution, is_grouped, is_transposed), words
    lines = []
    if is_transposed and scheme != "glorot":
        lines = ["# [in, out, ...], where torch's fans are those of [out, in, ...].", MODE]
        options = f", mode=mode{options}"
    return [*lines, f"nn.init.{name}_{distribution}_(module.weight{options})"], words


def _by_hand(scheme: str, distribution: str, is_grouped: bool, is_transposed: bool) -> list[str]:
    lines = ["weight = module.weight  # [out, in / groups, ...]"]
    lines += ["fan_in = weight[0].numel()"]
    if scheme == "glorot":
        groups = ' // getattr(module, "groups", 1)' if is_grouped else ""
        lines += [f"fan_out = weight[:, 0].numel(){groups}"]
    elif is_transposed:
        lines += ["if isinstance(module, nn.ConvTranspose2d):  # [in, out, ...]"]
        lines += ["    fan_in = weight[:, 0].numel()"]
    return [*lines, f"std = ({VARIANCES[scheme]}) ** 0.5", *DRAWS[distribution]]
