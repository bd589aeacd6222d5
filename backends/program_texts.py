"""The texts of programs: what is NumPy only, and so the same in every framework's."""

from __future__ import annotations

DOCSTRING = '''"""{name} in {title}: a complete program.

{commands}

{about}

{notes}

What stands above `EPOCHS`, imports aside, is word for word what `python -m harness run` imports
and times; what stands below reads data, calls it and prints.
"""'''

ABOUT = (
    "{shapes}, with {parameters} parameters. The programs of the other frameworks are the same "
    "network, trained in the same way. What {framework} has otherwise than they:"
)

SETTINGS = "EPOCHS = {epochs}\nBATCH_SIZE = {batch}"

DIGITS = '''def load_digits():
    """Return scikit-learn's 1,797 digits as images [n, {height}, {width}] in [0, 1], and labels.

    They have 8x8 pixels. As areas, with their centres in the middle, they are enlarged
    linearly along both axes: `stretch(size) @ pixels` does it along one.
    """
    try:
        from sklearn import datasets
    except ModuleNotFoundError:
        sys.exit("no scikit-learn, whose digits are the default; install it, or name an .npz file")

    def stretch(size, pixels=8):
        position = np.clip((np.arange(size) + 0.5) * pixels / size - 0.5, 0, pixels - 1)
        return np.maximum(1 - np.abs(position[:, None] - np.arange(pixels)), 0)

    digits = datasets.load_digits()
    return stretch({height}) @ (digits.images / 16) @ stretch({width}).T, digits.target
'''

DIGITS_OTHERWISE = """    if path is None:
        return split(*load_digits())
"""

DATA = '''def split(images, labels):
    """Return images and labels for training, then those for testing: a fifth, always the same."""
    images, labels = as_images(images), as_targets(labels)
    order = np.random.default_rng(0).permutation(len(images))
    test, train = np.split(order, [len(order) // 5])
    return images[train], labels[train], images[test], labels[test]


def load_data(path):
    """Return images and labels for training, then those for testing: of {what}.

    A file holds x_train, y_train, x_test and y_test, or images and labels.
    """
{otherwise}    with np.load(path) as file:
        if "images" in file:
            return split(file["images"], file["labels"])
        return (
            as_images(file["x_train"]),
            as_targets(file["y_train"]),
            as_images(file["x_test"]),
            as_targets(file["y_test"]),
        )
'''

IMAGES = '''def as_images(array):
    """Return float32 images [n, {sides}]; of bytes, 255 becomes 1."""
    if array.dtype == np.uint8:
        array = array / np.float32(255)
{channel}    if array.shape[1:] != {shape}:
        sys.exit(f"images of shape {{array.shape[1:]}}; the network's are {shape}")
    return array.astype(np.float32)
'''

CHANNEL = """    if array.ndim == {axes}:
        array = array[..., np.newaxis]  # one channel
"""

CLASSES = '''def as_targets(labels):
    """Return class numbers, int32 [n]."""
    low, high = labels.min(), labels.max()
    if low < 0 or high >= {outputs}:
        sys.exit(f"labels from {{low}} to {{high}}; the network has {outputs} outputs")
    return labels.reshape(len(labels)).astype(np.int32)
'''

VALUES = '''def as_targets(labels):
    """Return float32 [n, {outputs}]: values, or of class numbers rows with a 1 at the class."""
    if labels.dtype.kind in "iu":
        labels = np.eye({outputs})[labels.reshape(len(labels))]
    return labels.reshape(len(labels), {outputs}).astype(np.float32)
'''

SINGLE_VALUES = '''def as_targets(labels):
    """Return float32 [n, 1]: values, or the numbers of two classes."""
    return labels.reshape(len(labels), 1).astype(np.float32)
'''

AUGMENT = '''def augment(images, random):
    """Return the images [n, h, w, c] changed at random, for one epoch."""
    count, height, width, _ = images.shape
'''

CROP = """    # Zeros all around, then crop to the old size.
    padded = np.pad(images, [(0, 0), ({padding}, {padding}), ({padding}, {padding}), (0, 0)])
    places = random.integers({places}, size=(count, 2))
    crops = [image[y : y + height, x : x + width] for image, (y, x) in zip(padded, places)]
    images = np.stack(crops)
"""

FLIP = """    # Mirror one in two, left to right.
    is_flipped = random.random(count) < 0.5
    images = np.where(is_flipped[:, None, None, None], images[:, :, ::-1], images)
"""

CUTOUT = """    # A black square, its centre anywhere.
    images = images.copy()
    for image in images:
        top, left = random.integers(height) - {half}, random.integers(width) - {half}
        image[max(top, 0) : top + {side}, max(left, 0) : left + {side}] = 0
"""

EPOCHS_DROP = '''def epochs(options, count):
    """Yield for each epoch its batches of row numbers, [steps, batch], and a rate for each step.

    The images that do not fill a batch are left out, other ones in every epoch.
    """
    size = min(BATCH_SIZE, count)
    steps = count // size
    random = np.random.default_rng(options.seed)
    for rates in np.split(learning_rates(options.epochs, steps), options.epochs):
        yield random.permutation(count)[: steps * size].reshape(steps, size), rates
'''

EPOCHS_KEEP = '''def epochs(options, count):
    """Yield for each epoch its batches of row numbers, [steps, batch], and a rate for each step.

    The last, partial batch is a second pair of these.
    """
    full = count // BATCH_SIZE
    steps = -(-count // BATCH_SIZE)
    random = np.random.default_rng(options.seed)
    for rates in np.split(learning_rates(options.epochs, steps), options.epochs):
        order = random.permutation(count)
        first, rest = np.split(order, [full * BATCH_SIZE])
        pairs = (first.reshape(full, BATCH_SIZE), rates[:full]), (rest[np.newaxis], rates[full:])
        yield [(rows, part) for rows, part in pairs if rows.size]
'''

ACCURACY = '''def describe(logits, targets):
    """Say for how many images the largest logit is that of the right class."""
    return f"accuracy {(logits.argmax(1) == targets).mean():.2%}"
'''

BINARY_ACCURACY = '''def describe(logits, targets):
    """Say how many outputs are on the right side of 1/2, where a logit is 0."""
    return f"accuracy {((logits > 0) == (targets > 0.5)).mean():.2%}"
'''

ERROR = '''def describe(outputs, targets):
    """Say how far off the outputs are: the root of the mean squared error."""
    return f"error {np.sqrt(((outputs - targets) ** 2).mean()):.6f}"
'''

WEIGHTS = '''def read_weights(path):
    """Return the arrays of a safetensors file by name.

    That is the length of a header in eight bytes, the header in JSON, and plain numbers.
    """
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        data = file.read()
    types = {"F32": np.float32, "F64": np.float64}
    arrays = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            array = np.frombuffer(data[begin:end], types[entry["dtype"]])
            arrays[name] = array.reshape(entry["shape"])
    return arrays
'''

TEST_PARTS = "test_parts = np.array_split(test_images, -(-len(test_images) // 500))"

OPTIONS = """def parse_options(arguments):
    parser = argparse.ArgumentParser(description="Train, and test after every epoch.")
    parser.add_argument("data",{nargs} help="an .npz file{default}")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and dropout")
    parser.add_argument("--weights", help="a file of `harness run --save-weights` to start from")
    return parser.parse_args(arguments)
"""
