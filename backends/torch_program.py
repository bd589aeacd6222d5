"""A program of a PyTorch source: weights, data, epochs; and what PyTorch has its way."""

from __future__ import annotations

from backends.program_notes import Facts
from backends.programs import Dialect
from backends.wording import axes_of
from harness.contract import SourceWriter
from harness.spec import ChannelScale, Conv2DTranspose, Network, Spec, infer

SETUP = """device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
torch.backends.cudnn.allow_tf32 = False  # all 24 bits of float32, as on the CPU
torch.manual_seed(options.seed)
model = Model().to(device{memory_format})
if options.weights:
    set_weights(model, read_weights(options.weights))
    torch.manual_seed(options.seed)
optimizer = make_optimizer(model)"""
MEMORY_FORMATS = {2: "torch.channels_last", 3: "torch.channels_last_3d"}

ATTRIBUTES = {
    "kernel": "weight",
    "bias": "bias",
    "scale": "weight",
    "offset": "bias",
    "mean": "running_mean",
    "variance": "running_var",
}


def torch_dialect(spec: Spec, variant: str) -> Dialect:
    """Say how PyTorch trains the network of `spec`."""
    network, facts = infer(spec), Facts(spec)
    memory = MEMORY_FORMATS.get(axes_of(network))
    is_class = spec.training.loss == "cross_entropy"
    return Dialect(
        title="PyTorch (compiled)" if variant == "compile" else "PyTorch",
        file=facts.file("torch", variant),
        notes=tuple(_notes(facts, variant)),
        imports=("import re",) if facts.branches else (),
        set_weights=_set_weights(network, facts),
        setup=SETUP.format(memory_format=f", memory_format={memory}" if memory else ""),
        upload="train_set = torch.from_numpy({images}).to(device)\n"
        f"targets = torch.from_numpy(train_targets).to(device{', torch.int64' * is_class})",
        train="rows = torch.from_numpy(order).to(device)\n"
        "losses = train(model, optimizer, train_set, targets, rows, rates.tolist())",
        mean="loss = losses.mean().item()  # waits until the device is done",
        join="torch.cat(parts)",
        predict="predict(model, torch.from_numpy(images).to(device)).cpu().numpy()",
        compiles=variant == "compile",
    )


def _set_weights(network: Network, facts: Facts) -> str:
    """Write the function that sets parameters and statistics by their paths."""
    layers = [node.layer for node in network.nodes]
    write = SourceWriter()
    write("def set_weights(model, arrays):")
    write('"""Start from arrays by layer, of which kernels are [..., in, out]."""', 1)
    write("attributes = {", 1)
    for role in facts.roles:
        write(f'"{role}": "{ATTRIBUTES[role]}",', 2)
    write("}", 1)
    write("for path, array in arrays.items():", 1)
    write(f'layer, _, role = {facts.joined("path")}.rpartition(".")', 2)
    if any(isinstance(layer, ChannelScale) for layer in layers):
        write('owner, _, name = layer.rpartition(".")', 2)
        write("module = getattr(model.get_submodule(owner), name)", 2)
        write("is_alone = isinstance(module, nn.Parameter)", 2)
        write("tensor = module if is_alone else getattr(module, attributes[role])", 2)
    else:
        write("module = model.get_submodule(layer)", 2)
        write("tensor = getattr(module, attributes[role])", 2)
    if any(isinstance(layer, Conv2DTranspose) for layer in layers):
        write("if array.ndim > 1 and isinstance(module, nn.ConvTranspose2d):", 2)
        write("array = np.moveaxis(array, (-2, -1), (0, 1))  # to [in, out, ...]", 3)
        write("elif array.ndim > 1:", 2)
    else:
        write("if array.ndim > 1:", 2)
    write("array = np.moveaxis(array, (-1, -2), (0, 1))  # to [out, in, ...]", 3)
    write("tensor.data.copy_(torch.tensor(array))", 2)
    return write.text()


def _notes(facts: Facts, variant: str) -> list[str]:
    """Say what PyTorch has otherwise, of what occurs in this network."""
    notes = []
    order, first = facts.orders
    if facts.has_convolutions:
        notes.append(
            f"Layout: a convolution takes {first} and its kernel is [out, in, {facts.sides}]; the "
            f"others have {order} and [{facts.sides}, in, out]. The images stay {order} in memory: "
            "`permute` only renames the axes, and the result is what PyTorch calls channels-last."
        )
    if facts.has_dense:
        notes.append("A dense kernel is [out, in], the transpose of the others'.")
    if facts.flattens:
        notes.append(
            "Before flattening, channels are moved last, so that the next dense layer gets its "
            f"inputs in the others' order. `flatten` alone would go through {first}."
        )
    if facts.is_unevenly_padded:
        notes.append(
            'Padding: nn.Conv2d and nn.MaxPool2d pad both ends alike, and "same" is refused with a '
            "stride. Where TensorFlow pads one end more, F.pad does it before the layer."
        )
    elif facts.is_padded:
        notes.append('Padding is given in pixels; the others say "same".')
    if facts.has_batch_norm:
        notes.append(
            "Batch norm: `momentum` is the share of the new batch; in Keras and Flax it is the "
            "share of the old average. nn.BatchNorm2d would gather the unbiased variance, which "
            "is larger by n / (n - 1) than the one that it normalizes by, hence the own class."
        )
    if facts.modes:
        notes.append(
            f"`model.train()` and `model.eval()` switch {facts.modes}; elsewhere an argument does."
        )
    if facts.has_dropout:
        notes.append(facts.dropout("PyTorch's global generator, which `torch.manual_seed` seeds"))
    notes += facts.loss(
        {
            "cross_entropy": "F.cross_entropy takes logits and class numbers, which are int64.",
            "binary_cross_entropy": "The loss takes logits: the sigmoid is part of it.",
        }
    )
    notes += facts.optimizer(
        {
            "adam": "Adam adds eps to the root of the corrected second moment, as the paper's "
            "algorithm 1 and optax do; Keras and TensorFlow add theirs before the correction.",
            "sgd_momentum": "SGD applies the rate to the velocity, v <- momentum v + g, then "
            "p <- p - rate v; Keras keeps the rate inside of the velocity.",
            "l2": "`weight_decay` of SGD adds to the gradient (coupled decay), before momentum.",
            "adamw": "AdamW's decay is decoupled: p shrinks by rate x decay, beside the gradient.",
        }
    )
    notes.append(
        "`backward` adds to `parameter.grad`, so that is set to zero before; JAX and TensorFlow "
        "return gradients."
    )
    if variant == "compile":
        notes.append(
            "torch.compile makes kernels of the forward and the backward pass when first called; "
            "the optimizer's step is fused without it. What a replayed CUDA graph returns lies "
            "where the next replay puts its own, so nothing of it is kept longer than a step."
        )
    return notes
