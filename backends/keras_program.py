"""A program of a Keras source, on each of its frameworks; and what Keras has its way."""

from __future__ import annotations

from backends.keras_layers import depth_multiplier
from backends.program_notes import Facts
from backends.programs import Dialect
from harness.contract import SourceWriter
from harness.spec import Conv, Network, Spec, infer

TITLE = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}

EXACT = {
    "tensorflow": "tf.config.experimental.enable_tensor_float_32_execution(False)  # all 24 bits",
    "jax": 'jax.config.update("jax_default_matmul_precision", "highest")  # all 24 bits',
    "torch": "torch.backends.cudnn.allow_tf32 = False  # all 24 bits of float32, as on the CPU",
}

SETUP = """{exact}
keras.utils.set_random_seed(options.seed)
model = make_model()
if options.weights:
    set_weights(model, read_weights(options.weights))
optimizer = make_optimizer(model)"""

UPLOAD = {
    "tensorflow": "train_set = tf.constant({images})\ntargets = tf.constant(train_targets)",
    "jax": "train_set = jnp.array({images})\ntargets = jnp.array(train_targets)",
    "torch": "train_set = keras.ops.convert_to_tensor({images})\n"
    "targets = keras.ops.convert_to_tensor(train_targets)",
}

TRAIN = {
    "tensorflow": "rows, rates = tf.constant(order), tf.constant(rates, tf.float32)\n"
    "losses = train(model, optimizer, train_set, targets, rows, rates)",
    "jax": "rows, rates = order.astype(np.int32), rates.astype(np.float32)\n"
    "losses = train(model, optimizer, train_set, targets, rows, rates)",
    "torch": "rows = keras.ops.convert_to_tensor(order)\n"
    "losses = train(model, optimizer, train_set, targets, rows, rates.tolist())",
}

MEAN = {
    "tensorflow": "loss = tf.reduce_mean(losses).numpy()  # waits until the device is done",
    "jax": "loss = losses.mean().item()  # waits until the device is done",
    "torch": "loss = losses.mean().item()  # waits until the device is done",
}

JOIN = {
    "tensorflow": "tf.concat(parts, 0)",
    "jax": "jnp.concatenate(parts)",
    "torch": "torch.cat(parts)",
}

PREDICT = {
    "tensorflow": "predict(model, tf.constant(images)).numpy()",
    "jax": "predict(model, images)",
    "torch": "predict(model, keras.ops.convert_to_tensor(images)).cpu().numpy()",
}

ATTRIBUTES = {
    "kernel": "kernel",
    "bias": "bias",
    "scale": "gamma",
    "offset": "beta",
    "mean": "moving_mean",
    "variance": "moving_variance",
}


def keras_dialect(spec: Spec, variant: str) -> Dialect:
    """Say how Keras trains the network of `spec` on one of its frameworks."""
    framework = variant or "tensorflow"
    network, facts = infer(spec), Facts(spec)
    return Dialect(
        title=f"Keras (on {TITLE[framework]})",
        file=facts.file("keras", variant),
        notes=tuple(_notes(facts, framework)),
        imports=(),
        set_weights=_set_weights(network, facts),
        setup=SETUP.format(exact=EXACT[framework]),
        upload=UPLOAD[framework],
        train=TRAIN[framework],
        mean=MEAN[framework],
        join=JOIN[framework],
        predict=PREDICT[framework],
        compiles=framework != "torch",
    )


def _set_weights(network: Network, facts: Facts) -> str:
    """Write the function that sets parameters and statistics by their paths."""
    is_depthwise = any(isinstance(n.layer, Conv) and depth_multiplier(n) for n in network.nodes)
    write = SourceWriter()
    write("def set_weights(model, arrays):")
    write('"""Start from arrays by layer, of which kernels are [..., in, out]."""', 1)
    names = {role: ATTRIBUTES[role] for role in facts.roles if ATTRIBUTES[role] != role}
    if names:
        write("attributes = {", 1)
        for role, attribute in names.items():
            write(f'"{role}": "{attribute}",', 2)
        write("}", 1)
    facts.write_transposed(write)
    write("for path, array in arrays.items():", 1)
    write('layer, _, role = path.rpartition(".")', 2)
    name = 'layer.replace(".", "_")' if any("." in n.path for n in network.nodes) else "layer"
    role = "attributes.get(role, role)" if names else "role"
    write(f"variable = getattr(model.get_layer({name}), {role})", 2)
    if facts.transposed:
        write("if path in transposed:", 2)
        write("array = array.swapaxes(-1, -2)  # that of a transposed one is [..., out, in]", 3)
    if is_depthwise:
        write(
            "# A depthwise kernel is [kh, kw, channels, multiplier], elsewhere [kh, kw, 1, out].", 2
        )
        write("array = array.reshape(variable.shape)", 2)
    write("variable.assign(array)", 2)
    return write.text()


LOOPS = {
    "tensorflow": "Keras's `fit` would hide the loop. Here it is tf.function and GradientTape, "
    "as in Keras's guide to writing a training loop in TensorFlow.",
    "jax": "Keras's `fit` would hide the loop. JAX needs functions without side effects: "
    "`stateless_call` and `stateless_apply` take the values of all variables, and return new ones.",
    "torch": "Keras's `fit` would hide the loop. On PyTorch a Keras model is a torch module: "
    "`loss.backward()` leaves gradients in its parameters, and Keras's optimizer applies them.",
}


def _notes(facts: Facts, framework: str) -> list[str]:
    """Say what Keras has otherwise, of what occurs in this network."""
    notes = ["Layers infer how many channels or values come in; PyTorch and Flax are told."]
    order, first = facts.orders
    if facts.has_convolutions:
        layout = f"{order} images and [{facts.sides}, in, out] kernels, as in Flax and TensorFlow"
        notes.append(f"Layout: {layout}; PyTorch has {first} and [out, in, {facts.sides}].")
        notes.append(
            'Padding: the default, "valid", is PyTorch\'s, too, but not Flax\'s. "same" is '
            "TensorFlow's: of an odd number of pixels, the larger half is below and to the right."
            if facts.is_padded
            else 'Padding: the default, "valid", is none, as in PyTorch; Flax has "SAME".'
        )
    if facts.has_batch_norm:
        notes.append(
            "Batch norm: `momentum` is the share of the old average, in PyTorch that of the new "
            "batch; it and epsilon are given, as the defaults (0.99 and 1e-3) are other ones."
        )
    if facts.modes:
        notes.append(
            f"The argument `training` switches {facts.modes}; PyTorch's modules have a mode."
        )
    if facts.has_dropout:
        notes.append(
            facts.dropout("a seed generator of the layer, seeded by `keras.utils.set_random_seed`")
        )
    probabilities = "Keras's losses expect probabilities; `from_logits=True` makes this one include"
    notes += facts.loss(
        {
            "cross_entropy": f"{probabilities} the softmax.",
            "binary_cross_entropy": f"{probabilities} the sigmoid.",
        }
    )
    notes += facts.optimizer(
        {
            "adam": 'Keras\'s Adam adds epsilon before the bias correction ("epsilon hat"); the '
            "class here makes it mean what it does in PyTorch and optax.",
            "sgd_momentum": "Keras's SGD keeps the learning rate inside of the velocity; the class "
            "here applies it afterwards, as PyTorch, Flax and TensorFlow do.",
        }
    )
    return [*notes, LOOPS[framework]]
