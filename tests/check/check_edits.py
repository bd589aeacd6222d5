"""Faults that lie in the generated source; apart from the fakes, which import a backend."""

# What is replaced by what in the generated source.
EDITS = {
    "epsilon": ('norms.BatchNorm("bn1", 0.9, 0.001)', 'norms.BatchNorm("bn1", 0.9, 1e-05)'),
    "decay": ('norms.BatchNorm("bn1", 0.9, 0.001)', 'norms.BatchNorm("bn1", 0.99, 0.001)'),
    "no-relu": ('activations.Relu("conv1"),', ""),
    "padding": ("((0, 1), (0, 1))", "((1, 0), (1, 0))"),
    "sum": ("training.cross_entropy(outputs, targets)", "summed(outputs, targets)"),
    "momentum": ("training.Sgd(0.9,", "training.Sgd(0.5,"),
    "smoothing": (
        "training.cross_entropy(outputs, targets)",
        "training.cross_entropy(outputs, targets, 0.1)",
    ),
}
