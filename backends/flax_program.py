"""A program of a Flax source: weights, data, epochs; and what Flax and JAX have their way."""

from __future__ import annotations

from backends.program_notes import Facts
from backends.programs import Dialect
from harness.contract import SourceWriter
from harness.spec import ChannelScale, Network, Spec, infer

SETUP = """jax.config.update("jax_default_matmul_precision", "highest")  # all 24 bits, on GPUs, too
graphdef, state = init(options.seed)
if options.weights:
    state = set_weights(state, read_weights(options.weights), options.seed)"""

NNX_ROLES = {"offset": "bias", "variance": "var"}  # the others are called as in a spec's paths


def flax_dialect(spec: Spec, source: str) -> Dialect:
    """Say how Flax trains the network of `spec`, whose source this is."""
    network, facts = infer(spec), Facts(spec)
    variables = "state.params, state.batch_stats" if network.statistics else "state.params"
    return Dialect(
        title="Flax (nnx and optax)",
        file=facts.file("flax", ""),
        notes=tuple(_notes(facts, source)),
        imports=("import re",) if facts.branches else (),
        set_weights=_set_weights(network, facts),
        setup=SETUP,
        upload="train_set = jnp.array({images})\ntargets = jnp.array(train_targets)",
        train="rows = order.astype(np.int32)  # JAX's integers have 32 bits\n"
        "state, losses = train(graphdef, state, train_set, targets, rows, rates.tolist())",
        mean="loss = losses.mean().item()  # waits until the device is done",
        join="jnp.concatenate(parts)",
        predict=f"predict(graphdef, {variables}, images)",
    )


def _set_weights(network: Network, facts: Facts) -> str:
    """Write the function that makes a state of arrays by their paths."""
    write = SourceWriter()
    is_scaled = any(isinstance(node.layer, ChannelScale) for node in network.nodes)
    names = {role: NNX_ROLES[role] for role in facts.roles if role in NNX_ROLES}
    write("def set_weights(state, arrays, seed):")
    write('"""Return the state before the first step, from arrays by layer."""', 1)
    if names:
        pairs = ", ".join(f'"{role}": "{name}"' for role, name in names.items())
        write(f"names = {{{pairs}}}", 1)
    facts.write_transposed(write)
    write("for path, array in arrays.items():", 1)
    write(f'*places, role = {facts.joined("path")}.split(".")', 2)
    if network.statistics:
        is_statistic = 'role in ("mean", "variance")'
        write(f"tree = state.batch_stats if {is_statistic} else state.params", 2)
    else:
        write("tree = state.params", 2)
    if is_scaled:
        write("*places, last = places", 2)
    write("for place in places:", 2)
    write("tree = tree[int(place) if place.isdigit() else place]", 3)
    value = "jnp.array(array)"
    if facts.transposed:
        write("if path in transposed:", 2)
        write("array = array[::-1, ::-1]  # lax.conv_transpose does not flip its kernel", 3)
    role = "names.get(role, role)" if names else "role"
    if is_scaled:
        write("if isinstance(tree[last], dict):", 2)
        write(f"tree[last][{role}] = {value}", 3)
        write("else:  # a factor for each channel, which is its layer", 2)
        write(f"tree[last] = {value}", 3)
    else:
        write(f"tree[{role}] = {value}", 2)
    variables = "state.params, state.batch_stats" if network.statistics else "state.params"
    write(f"return init_state({variables}, seed)", 1)
    return write.text()


def _notes(facts: Facts, source: str) -> list[str]:
    """Say what Flax has otherwise, of what occurs in this network."""
    notes = []
    order, first = facts.orders
    if facts.has_convolutions:
        layout = f"{order} images and [{facts.sides}, in, out] kernels, as in Keras and TensorFlow"
        notes.append(f"Layout: {layout}; PyTorch has {first} and [out, in, {facts.sides}].")
        notes.append(
            "nnx.Conv is told how many channels come in (as in PyTorch; Keras infers it), and its "
            'default padding is "SAME", where Keras and PyTorch pad nothing: so it is always given.'
        )
    elif facts.has_dense:
        notes.append("nnx.Linear is told how many values come in; Keras infers that.")
    if "block_max_pool(" in source:
        notes.append(
            "Max-pooling is written out where windows do not overlap, as its gradient is slow in "
            "XLA on the CPU. Of equal maxima the first gets the gradient, as elsewhere."
        )
    if "nnx.max_pool(" in source:
        notes.append(
            "nnx.max_pool is a function without state, and its default stride is 1, where a "
            "layer of Keras or PyTorch takes the window's size."
        )
    if facts.has_batch_norm:
        notes.append(
            "Batch norm: `momentum` is the share of the old average, in PyTorch that of the new "
            "batch. Running averages are another part of the state than parameters: "
            "the loss returns the new ones beside its value (`has_aux`)."
        )
    if facts.has_dropout:
        notes.append(facts.dropout("a key that is an argument, split for every step"))
    notes += facts.loss(
        {
            "cross_entropy": "optax's losses take logits and return a value for each image; "
            "Keras's and PyTorch's take the mean, too.",
            "binary_cross_entropy": "optax's losses take logits and return a value for each "
            "output; Keras's and PyTorch's take the mean, too.",
        }
    )
    notes += facts.optimizer(
        {
            "adam": "optax's Adam adds eps after the bias correction, as PyTorch's; Keras's and "
            "TensorFlow's add theirs before it.",
            "sgd_momentum": "optax applies the rate to the velocity, as PyTorch does; Keras keeps "
            "the rate inside of it.",
        }
    )
    notes.append(
        "Nothing is changed in place: a step takes parameters, optimizer state and key, and "
        "returns new ones. `nnx.split` takes the model apart into its structure and these arrays, "
        "`nnx.merge` puts it together again inside of the compiled step."
    )
    notes.append("optax returns updates, which the step itself adds to the parameters.")
    return notes
