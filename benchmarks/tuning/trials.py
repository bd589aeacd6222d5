"""What was tried: each a change to a backend's source or environment, and what was expected of it.

The source is the one that the backend writes; a change takes one text in it for another. What was
expected is written before it is measured, and stays as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

SMALL_PAGES = {"GLIBC_TUNABLES": ""}


@dataclass(frozen=True)
class Trial:
    """One change. `edits` are of the source, `environment` of the worker, `options` of the plan.

    `rewrite` stands for edits where the source depends on the machine. `rounds` are those of a
    pair; fewer where a step is long.
    """

    name: str
    backend: str
    what: str
    expected: str
    model: str = "mnist-1conv"
    edits: Sequence[tuple[str, str]] = ()
    rewrite: Callable[[str], str] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    rounds: int = 30

    def changed(self, source: str) -> str:
        """Return the source with the edits in it.

        Raises:
            ValueError: the source has not that text, or more than once.

        """
        for old, new in self.edits:
            if source.count(old) != 1:
                raise ValueError(f"trial {self.name}: {source.count(old)} times in it: {old!r}")
            source = source.replace(old, new)
        return self.rewrite(source) if self.rewrite else source


SCAN = """    def one(state, given):
        batch, learning_rate = given
        return train_step(graphdef, state, images, targets, batch, learning_rate)

    return jax.lax.scan(one, state, (jnp.asarray(order), jnp.asarray(learning_rates)))
"""
LOOP = """    losses = []
    for batch, learning_rate in zip(order, learning_rates):
        state, loss = train_step(graphdef, state, images, targets, batch, learning_rate)
        losses.append(loss)
    return state, jnp.stack(losses)
"""

ONEDNN = """class Linear(nn.Linear):
    def forward(self, x):
        return super().forward(x.to_mkldnn()).to_dense()


"""


def other_dense(source: str) -> str:
    """Give the large dense layer to MKL if oneDNN has it, else to oneDNN."""
    by_onednn, by_mkl = "self.dense1 = Linear(", "self.dense1 = nn.Linear("
    if by_onednn in source:
        return source.replace(by_onednn, by_mkl)
    return source.replace(by_mkl, by_onednn).replace("class Model(", f"{ONEDNN}class Model(")


TRIALS = (
    Trial(
        "torch-stock",
        "torch",
        "glibc's own thresholds, which give memory back",
        "+30 %",
        options={"environment": "stock"},
    ),
    Trial(
        "torch-foreach",
        "torch",
        "Adam with `foreach` instead of `fused`",
        "+5 %",
        edits=[("fused=True", "foreach=True")],
    ),
    Trial(
        "torch-dense",
        "torch",
        "the large dense layer by oneDNN, not MKL; on a processor of AMD, by MKL",
        "0 %; on AMD +15 %",
        rewrite=other_dense,
    ),
    Trial(
        "torch-copies",
        "torch",
        "ReLU after convolutions into a tensor of its own, not in place",
        "+2.5 %",
        edits=[("F.relu(self.conv1(x), inplace=True)", "F.relu(self.conv1(x))")],
    ),
    Trial(
        "torch-copies-2conv",
        "torch",
        "ReLU after convolutions into a tensor of its own, not in place",
        "+3 %",
        model="mnist-2conv",
        edits=[
            ("F.relu(self.conv1(x), inplace=True)", "F.relu(self.conv1(x))"),
            ("F.relu(self.conv2(x), inplace=True)", "F.relu(self.conv2(x))"),
        ],
    ),
    Trial(
        "torch-pool-first",
        "torch",
        "ReLU after the pooling, which gives the same on a quarter of the values",
        "-15 %",
        edits=[
            (
                "        x = F.relu(self.conv1(x), inplace=True)\n        x = self.pool1(x)\n",
                "        x = F.relu(self.pool1(self.conv1(x)), inplace=True)\n",
            )
        ],
    ),
    Trial(
        "torch-nchw",
        "torch",
        "images contiguous in NCHW, not channels-last",
        "+5 %",
        model="resnet-20",
        edits=[
            (
                "batch_images = images[batch].permute(0, 3, 1, 2)",
                "batch_images = images[batch].permute(0, 3, 1, 2).contiguous()",
            )
        ],
        rounds=10,
    ),
    Trial(
        "torch-kernels-last",
        "torch",
        "kernels channels-last, as the images are",
        "0 %",
        model="resnet-20",
        edits=[
            (
                "        self.apply(initialize)\n",
                "        self.apply(initialize).to(memory_format=torch.channels_last)\n",
            )
        ],
        rounds=10,
    ),
    Trial(
        "torch-bound",
        "torch",
        "threads bound to cores, `OMP_PROC_BIND=close`",
        "0 %",
        environment={"OMP_PROC_BIND": "close", "OMP_PLACES": "cores"},
    ),
    Trial(
        "flax-stock",
        "flax",
        "the stock environment, of allocator and XLA",
        "+30 %",
        options={"environment": "stock"},
    ),
    Trial(
        "flax-keep",
        "flax",
        "the old state kept, not donated",
        "+3 %",
        edits=[('@functools.partial(jax.jit, donate_argnames="state")', "@jax.jit")],
    ),
    Trial(
        "flax-scan",
        "flax",
        "`lax.scan` over the steps of a block",
        "+30 %",
        edits=[
            (LOOP, SCAN),
            (
                "def train(graphdef,",
                '@functools.partial(jax.jit, donate_argnames="state")\ndef train(graphdef,',
            ),
        ],
    ),
    Trial(
        "flax-max-pool",
        "flax",
        "`nnx.max_pool`, whose gradient is XLA's own",
        "+200 %",
        edits=[
            (
                "x = block_max_pool(x, (2, 2))  # pool1",
                "x = nnx.max_pool(x, (2, 2), strides=(2, 2))  # pool1",
            )
        ],
    ),
    Trial(
        "tensorflow-pool-first",
        "tensorflow",
        "ReLU after the pooling, which gives the same on a quarter of the values",
        "-5 %",
        edits=[
            (
                "        x = tf.nn.relu(tf.nn.bias_add(x, self.conv1_bias))\n"
                '        x = tf.nn.max_pool2d(x, 2, strides=2, padding="VALID")  # pool1\n',
                "        x = tf.nn.bias_add(x, self.conv1_bias)\n"
                '        x = tf.nn.relu(tf.nn.max_pool2d(x, 2, strides=2, padding="VALID"))\n',
            )
        ],
    ),
    Trial(
        "tensorflow-xla",
        "tensorflow",
        "the step by XLA, `jit_compile=True`",
        "+150 %",
        edits=[("def train_step(", "@tf.function(jit_compile=True)\ndef train_step(")],
    ),
    Trial(
        "tensorflow-plain",
        "tensorflow",
        "TensorFlow's own kernels, `TF_ENABLE_ONEDNN_OPTS=0`",
        "+40 %",
        environment={"TF_ENABLE_ONEDNN_OPTS": "0"},
    ),
    Trial(
        "tensorflow-stock",
        "tensorflow",
        "glibc's own thresholds, which give memory back",
        "+5 %",
        options={"environment": "stock"},
    ),
    Trial(
        "keras-adam",
        "keras",
        "Keras's own Adam, a formula",
        "+8 %",
        edits=[("    def update_step(", "    def fused_update_step(")],
    ),
    *(
        Trial(
            f"{backend}-pages-{model}",
            backend,
            "malloc in pages of 4 KiB, not 2 MiB",
            "+2 %",
            model=model,
            environment=SMALL_PAGES,
            rounds=10 if model == "resnet-20" else 30,
        )
        for backend in ("torch", "flax", "tensorflow")
        for model in ("mnist-1conv", "mnist-2conv", "resnet-20")
    ),
)
