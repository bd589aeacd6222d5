"""Programs of both TensorFlow sources, raw and of version 1; and what TensorFlow has its way."""

from __future__ import annotations

from backends.program_notes import Facts
from backends.programs import Dialect
from harness.contract import SourceWriter
from harness.spec import Network, Spec, infer
from harness.spec.layers import BatchNorm, GroupNorm, LayerNorm

EXACT = (
    "tf.config.experimental.enable_tensor_float_32_execution(False)  # all 24 bits, on GPUs, too"
)

SETUP = """{exact}
tf.random.set_seed(options.seed)
model = Model(){rng}
if options.weights:
    set_weights(model, read_weights(options.weights))
optimizer = make_optimizer(model)"""
RNG = "\nmodel.rng.reset_from_seed(options.seed)"

GRAPH_SETUP = """{exact}
with tf.Graph().as_default():  # or, at the very start, tf.disable_v2_behavior()
    tf.set_random_seed(options.seed)
    graph = Graph()
    session = tf.Session()
    session.run(graph.initializer)
    variables = {{variable.op.name: variable for variable in tf.global_variables()}}{seed}
    if options.weights:
        set_weights(session, variables, read_weights(options.weights))"""
SEED = '\n    variables["seed"].load(options.seed, session)  # of dropout'


def tensorflow_dialect(spec: Spec) -> Dialect:
    """Say how raw TensorFlow trains the network of `spec`."""
    network, facts = infer(spec), Facts(spec)
    return Dialect(
        title="TensorFlow (raw)",
        file=facts.file("tensorflow", ""),
        notes=tuple(_notes(facts)),
        imports=("import re",) if facts.branches else (),
        set_weights=_set_weights(network, facts),
        setup=SETUP.format(exact=EXACT, rng=RNG if network.dropouts else ""),
        upload="train_set = tf.constant({images})\ntargets = tf.constant(train_targets)",
        train="rows, rates = tf.constant(order), tf.constant(rates, tf.float32)\n"
        "losses = train(model, optimizer, train_set, targets, rows, rates)",
        mean="loss = tf.reduce_mean(losses).numpy()  # waits until the device is done",
        join="tf.concat(parts, 0)",
        predict="predict(model, tf.constant(images)).numpy()",
    )


def graph_dialect(spec: Spec) -> Dialect:
    """Say how TensorFlow 1 trains the network of `spec`; its data stay NumPy's."""
    network, facts = infer(spec), Facts(spec)
    augments = spec.training.augment is not None
    images = "train_set" if augments else "train_images"
    return Dialect(
        title="TensorFlow (graph and session)",
        file=facts.file("tensorflow", "session"),
        notes=tuple(_graph_notes(facts)),
        imports=("import re",) if facts.branches else (),
        set_weights=_set_variables(facts),
        setup=GRAPH_SETUP.format(exact=EXACT, seed=SEED if network.dropouts else ""),
        upload="train_set = {images}" if augments else "",
        train=f"losses = train(session, graph, {images}, train_targets, order, rates)",
        mean="loss = losses.mean()",
        join="np.concatenate(parts)",
        predict="predict(session, graph, images)",
        compiles=False,
    )


def _set_weights(network: Network, facts: Facts) -> str:
    """Write the function that sets variables by their paths, which are attributes."""
    has_objects = any(isinstance(n.layer, BatchNorm | LayerNorm | GroupNorm) for n in network.nodes)
    write = SourceWriter()
    write("def set_weights(model, arrays):")
    write('"""Start from arrays by layer, in the layouts that TensorFlow has itself."""', 1)
    write("for path, array in arrays.items():", 1)
    if not has_objects and not network.blocks:
        write('getattr(model, path.replace(".", "_")).assign(array)', 2)
        return write.text()
    write(f'*places, layer, role = {facts.joined("path")}.split(".")', 2)
    write("owner = model", 2)
    write("for place in places:", 2)
    write("owner = owner[int(place)] if place.isdigit() else getattr(owner, place)", 3)
    if has_objects:
        write("if hasattr(owner, layer):  # a norm", 2)
        write("getattr(getattr(owner, layer), role).assign(array)", 3)
        write("else:", 2)
        write('getattr(owner, f"{layer}_{role}").assign(array)', 3)
    else:
        write('getattr(owner, f"{layer}_{role}").assign(array)', 2)
    return write.text()


def _set_variables(facts: Facts) -> str:
    """Write the function that sets variables by their paths, which are scopes."""
    write = SourceWriter()
    write("def set_weights(session, variables, arrays):")
    write('"""Start from arrays by layer, in the layouts that TensorFlow has itself."""', 1)
    write("for path, array in arrays.items():", 1)
    if facts.branches:
        write(f"name = {facts.joined('path')}", 2)
    name = "name" if facts.branches else "path"
    write(f'variables[{name}.replace(".", "/")].load(array, session)', 2)
    return write.text()


def _notes(facts: Facts) -> list[str]:
    """Say what raw TensorFlow has otherwise, of what occurs in this network."""
    return [
        "There are no layers: variables are made by hand, and given to functions of tf.nn.",
        *_layers(facts, "`tf.random.Generator`, a variable of the model"),
        *facts.optimizer(
            {
                "adam": 'The fused kernel adds its epsilon before the bias correction ("epsilon '
                'hat"); it is scaled so that it means what it does in PyTorch and optax.',
                "sgd_momentum": "The fused kernel applies the rate to the velocity, as PyTorch and "
                "optax do; Keras keeps the rate inside of it.",
            }
        ),
        "tf.function traces Python once into a graph; the loop over steps is part of that graph, "
        "where PyTorch and Flax dispatch one step after the other from Python.",
    ]


def _graph_notes(facts: Facts) -> list[str]:
    """Say what TensorFlow 1 has otherwise."""
    notes = [
        "A graph is built first, once; a session runs parts of it. Placeholders are filled with "
        "NumPy arrays at every step, by `feed_dict`.",
        "Variables are found by name: `get_variable` in the same scope returns the same one. So "
        "`network` is built twice, for training and for evaluation, with the same weights.",
        *_layers(facts, "stateless functions of a seed, the step and the layer's number"),
    ]
    if facts.has_batch_norm:
        notes.append(
            "Running averages are updated only because `train_op` depends on UPDATE_OPS; to forget "
            "that was the classic mistake."
        )
    return notes + facts.optimizer(
        {
            "adam": 'AdamOptimizer adds its epsilon before the bias correction ("epsilon hat"); '
            "it is scaled so that it means what it does in PyTorch and optax.",
            "sgd_momentum": "MomentumOptimizer applies the rate to the velocity, as PyTorch and "
            "optax do; Keras keeps the rate inside of it.",
        }
    )


def _layers(facts: Facts, generator: str) -> list[str]:
    """Say what both dialects have otherwise in their layers and losses."""
    notes = []
    order, first = facts.orders
    if facts.has_convolutions:
        layout = f"{order} images and [{facts.sides}, in, out] kernels, as in Keras and Flax"
        notes.append(f"Layout: {layout}; PyTorch has {first} and [out, in, {facts.sides}].")
        notes.append(
            "Padding and strides are arguments without a default."
            + ' Of an odd number of pixels, "SAME" puts the larger half below and to the right.'
            * facts.is_padded
        )
    if facts.has_batch_norm:
        notes.append(
            "Batch norm is written out: the fused kernel would gather the unbiased variance."
        )
    if facts.has_dropout:
        notes.append(facts.dropout(generator))
    return notes + facts.loss(
        {
            "cross_entropy": "tf.nn's losses take logits and return a value for each image; "
            "Keras's and PyTorch's take the mean, too.",
            "binary_cross_entropy": "tf.nn's losses take logits and return a value for each "
            "output; Keras's and PyTorch's take the mean, too.",
        }
    )
