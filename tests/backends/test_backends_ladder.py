"""Sources with one mistake each, taken up the ladder of `harness check`: rung, layer and cause."""

from __future__ import annotations

from functools import cache, partial

import numpy as np
import pytest
from studies import installed, network
from test_backends_mutants import MUTANTS

from harness.check import questions
from harness.check.causes import likely_cause
from harness.check.evidence import Evidence
from harness.check.ladder import settled
from harness.check.material import make_material
from harness.check.places import judge
from harness.check.questions import RUNGS, asking, parts_of
from harness.check.tolerances import FLOAT64
from harness.run.arrays import write_arrays

STEPS = 8
PARTS = [(rung, part) for rung in RUNGS for part in parts_of(rung)]

# As in MUTANTS: backend, network, what is replaced by what; then where the ladder stops, and what
# it supposes.
MORE = {
    "a batch norm's epsilon is torch's": (
        "torch norms",
        ("eps=0.001, momentum=0.2", "eps=1e-05, momentum=0.2"),
        "forward: bn1 (evaluation)",
        "epsilon 1e-05 instead of 0.001",
    ),
    "a batch norm's decay for torch's momentum": (
        "torch norms",
        ("eps=0.001, momentum=0.2", "eps=0.001, momentum=0.8"),
        "update: bn1.mean (after step 1)",
        "decay 0.2 instead of 0.8",
    ),
    "torch's own running variance": (
        "torch norms",
        (
            "lerp_(rsqrt**-2 - self.eps,",
            "lerp_((rsqrt**-2 - self.eps) / (1 - x.shape[1] / x.numel()),",
        ),
        "update: bn1.variance (after step 1)",
        "unbiased",
    ),
    "a batch norm that gathers nothing": (
        "torch norms",
        ("self.running_mean.lerp_(mean, self.momentum)", "pass"),
        "update: bn1.mean (after step 1)",
        "before the training",
    ),
    "another number of groups": (
        "torch norms",
        ("nn.GroupNorm(3, 6, eps=0.01)", "nn.GroupNorm(2, 6, eps=0.01)"),
        "forward: norm1 (evaluation)",
        "",
    ),
    "another epsilon of a layer norm": (
        "torch norms",
        ("self.norm2 = LayerNorm2d(8, eps=0.001)", "self.norm2 = LayerNorm2d(8, eps=1e-05)"),
        "forward: norm2 (evaluation)",
        "epsilon 1e-05",
    ),
    "scales and offsets decay, too": (
        "torch norms",
        ('"weight_decay": 0.0', '"weight_decay": 0.3'),
        "update: bn1.scale (after step 1)",
        "l2 on all parameters",
    ),
    "the gradient of l2 times the square": (
        "torch norms",
        ("weight_decay=0.3,", "weight_decay=0.6,"),
        "update: conv1.kernel (after step 1)",
        "twice the l2",
    ),
    "the exact gelu for the approximate one": (
        "torch activations",
        ("F.gelu(self.conv4(x))", 'F.gelu(self.conv4(x), approximate="tanh")'),
        "forward: conv4 (evaluation)",
        "gelu_tanh",
    ),
    "relu for silu": (
        "torch activations",
        ("F.silu(self.dense1(x))", "F.relu(self.dense1(x))"),
        "forward: dense1 (evaluation)",
        "as with relu",
    ),
    "an activation forgotten": (
        "torch activations",
        ("torch.sigmoid(self.dense3(x))", "self.dense3(x)"),
        "forward: dense3 (evaluation)",
        "without its activation",
    ),
    "no clipping": (
        "torch activations",
        ("0.05 / norm.clamp(min=0.05)", "1.0"),
        "update: conv1.kernel (after step 1)",
        "without clipping",
    ),
    "squared error for Huber's": (
        "torch activations",
        ("F.huber_loss(outputs, targets, delta=1.0)", "F.mse_loss(outputs, targets)"),
        "gradients: loss (training)",
        "mean_squared_error",
    ),
    "no label smoothing": (
        "torch groups",
        ("label_smoothing=0.1", "label_smoothing=0.0"),
        "gradients: loss (training)",
        "without label smoothing",
    ),
    "coupled decay in Adam": (
        "torch groups",
        ("torch.optim.AdamW(", "torch.optim.Adam("),
        "update: conv1.kernel (after step 1)",
        "",
    ),
    "padding on the other side": (
        "torch groups",
        ("F.pad(x, (0, 3, 2, 1))", "F.pad(x, (3, 0, 1, 2))"),
        "forward: conv1 (evaluation)",
        "larger half on the other side",
    ),
    "padding counts in an average": (
        "torch averages",
        ("count_include_pad=False", "count_include_pad=True"),
        "forward: pool6 (evaluation)",
        "counts in the mean",
    ),
    "RMSprop without momentum": (
        "torch averages",
        ("momentum=0.7,", "momentum=0.0,"),
        "update: conv1.kernel.velocity (after step 1)",
        "without momentum",
    ),
    "RMSprop with another epsilon": (
        "torch averages",
        ("eps=0.01,", "eps=1e-05,"),
        "update: conv1.kernel (after step 1)",
        "epsilon 1e-05",
    ),
    "RMSprop with another decay": (
        "torch averages",
        ("alpha=0.8,", "alpha=0.99,"),
        "update: conv1.kernel (after step 1)",
        "decay 0.99",
    ),
    "a shortcut forgotten": (
        "torch blocks",
        (
            "x = self.se1(x)\n        return F.relu(x + shortcut, inplace=True)",
            "return F.relu(self.se1(x))",
        ),
        "forward: stage1.1.conv1 (evaluation)",
        "",
    ),
    "another gate": (
        "torch blocks",
        ("torch.sigmoid(self.expand(gate))", "F.hardsigmoid(self.expand(gate))"),
        "forward: stage1.0.se1.expand (evaluation)",
        "",
    ),
    "branches in another order": (
        "torch blocks",
        ("torch.cat([x, branch2], dim=1)", "torch.cat([branch2, x], dim=1)"),
        "forward: dense.1.branch2.bn1 (evaluation)",
        "",
    ),
    "Adam with Keras's epsilon": (
        "torch blocks",
        ("eps=1e-08", "eps=1e-07"),
        "update: conv1.kernel (after step 1)",
        "epsilon 1e-07 instead of 1e-08",
    ),
    "Adam with another beta": (
        "torch blocks",
        ("betas=(0.9, 0.999)", "betas=(0.9, 0.99)"),
        "update: conv1.kernel.second_moment (after step 1)",
        "beta2 0.99",
    ),
    "a transposed convolution cut on the other side": (
        "torch transposes",
        ("self.conv6(x)[:, :, 1:, :]", "self.conv6(x)[:, :, :-1, :]"),
        "forward: conv6 (evaluation)",
        "larger half on the other side",
    ),
    "dilation ignored": (
        "torch groups",
        ("padding=2, dilation=2, bias=False", "padding=1, bias=False"),
        "forward: conv4 (evaluation)",
        "without its dilation",
    ),
    "channels in another order": (
        "torch groups",
        ("x = self.conv1(x)", "x = self.conv1(x).flip(1)"),
        "forward: conv1 (evaluation)",
        "channels in another order: 7, 6, 5, 4, 3, 2, 1, 0",
    ),
    "groups that get each other's channels": (
        "torch groups",
        ("x = self.conv3(x)", "x = self.conv3(x.flip(1))"),
        "forward: conv3 (evaluation)",
        "",
    ),
    "dropout by the mask's reverse": (
        "tensorflow drawn",
        (
            "x = tf.nn.experimental.general_dropout(x, 0.25, self.rng.uniform)",
            "x = (x - 0.75 * tf.nn.experimental.general_dropout(x, 0.25, self.rng.uniform)) / 0.25",
        ),
        "forward: dropout1 (training)",
        "",
    ),
    "no bias correction": (
        "keras blocks",
        (
            "beta_1_power, beta_2_power = self.beta_1**t, self.beta_2**t",
            "beta_1_power, beta_2_power = 0 * t, 0 * t",
        ),
        "update: conv1.kernel (after step 1)",
        "without the bias correction",
    ),
    "every gradient clipped by itself": (
        "torch activations",
        (
            "torch._foreach_mul_(gradients, 0.05 / norm.clamp(min=0.05))",
            "[gradient.clamp_(-1e-4, 1e-4) for gradient in gradients]",
        ),
        "update: conv1.kernel (after step 1)",
        "",
    ),
    "a schedule one step late": (
        "torch pools",
        (
            "for batch, learning_rate in zip(order, learning_rates):",
            "for batch, learning_rate in zip(order, learning_rates[:1] + learning_rates):",
        ),
        "trajectory: loss (step 3)",
        "",
    ),
    "the rows after those asked for": (
        "torch pools",
        ("images[batch]", "images[batch - 1]"),
        "update: loss (step 1)",
        "",
    ),
    "operands of ten bits, as in TF32": (
        "torch groups",
        ("x = self.conv1(x)", "x = self.conv1(torch.round(x * 2**10) / 2**10)"),
        "forward: conv1 (evaluation)",
        "",
    ),
    "an optimizer's moments lost on the way": (
        "torch blocks",
        ("    optimizer.step()", "    optimizer.step()\n    optimizer.state.clear()"),
        "update: conv1.kernel.first_moment (after step 1)",
        "",
    ),
    "a partial batch cut short": (
        "torch pools",
        (
            "        for group in optimizer.param_groups:",
            "        batch = batch[: len(batch) // 2 * 2]\n"
            "        for group in optimizer.param_groups:",
        ),
        "trajectory: loss (step 3)",
        "",
    ),
}

# Those whose mistake does not show on noise: where values are equal, or where they are huge.
UNSEEN = "ties"
CAUSES = {
    "larger half of the padding above": "larger half on the other side",
    "pool padded with zero": "counts as zero",
    "flatten by channels": "NCHW",
    "softmax twice": "softmax",
    "no bias": "without its bias",
    "dropout not scaled": "does not divide",
    "sum over the batch": "the sum over the batch",
    "sum over the outputs": "the sum over the outputs",
    "Keras's own Adam: epsilon hat": "before the bias correction",
    "TensorFlow's own Adam: epsilon hat": "before the bias correction",
    "no Nesterov": "without Nesterov",
    "another momentum": "momentum 0.9 instead of 0.8",
    "Keras's own momentum: the rate inside the velocity": "inside the momentum's velocity",
    "the same in TensorFlow": "inside the momentum's velocity",
    "a constant learning rate": "the first step's learning rate in the second",
}


def on_the_ladder(where: str) -> str:
    """What the ladder says where the other tests say `topic: array`."""
    topic, _, name = where.partition(": ")
    known = {
        "batch: predictions": "forward: logits (evaluation)",
        "batch: logits": "forward: logits (training)",
        "batch: loss": "gradients: loss (training)",
        "training: first state.conv1.kernel": "update: conv1.kernel (after step 1)",
        "training: first state.conv1.kernel.velocity": (
            "update: conv1.kernel.velocity (after step 1)"
        ),
        "training: losses": "update: conv1.kernel (after step 2)",
    }
    if topic == "activations":
        return f"forward: {name} (evaluation)"
    if topic == "training mode":
        return f"forward: {name} (training)"
    return known[where]


OLD = {
    what: (who, edit, on_the_ladder(where), CAUSES.get(what))
    for what, (who, edit, where) in MUTANTS.items()
    if not who.endswith(UNSEEN)
}


@cache
def material(name):
    return make_material(network(name), STEPS)


class Climber:
    """A bench of the lab, and the reference's, on one network."""

    def __init__(self, lab, label, name, edit=None):
        self.lab, self.name, self.material = lab, name, material(name)
        self.data = lab.folder / f"check-{name}"
        if not self.data.exists():
            self.data.mkdir()
            set_ = self.material.dataset
            train = {"train_images": set_.train_images, "train_targets": set_.train_labels}
            test = {"test_images": set_.test_images, "test_targets": set_.test_labels}
            write_arrays(self.data, {**train, **test})
        self.bench = lab.bench(label)
        self.edit = edit
        self.opened = 0

    def open(self, bench, spec, edit=None):
        path = bench.sources / f"ladder_{self.name}_{bench.label}_{id(self)}_{self.opened}.py"
        self.opened += 1
        fields = {"spec": spec.model_dump_json(), "source": str(path), "data": str(self.data)}
        bench.ask("open", **fields)
        if edit:
            text = path.read_text()
            assert edit[0] in text, f"{edit[0]!r} does not occur in\n{text}"
            path = path.with_stem(f"mutant_{path.stem}")
            path.write_text(text.replace(*edit))
            bench.ask("open", **{**fields, "source": str(path), "given": True})

    def by_reference(self, part, trained, given=None):
        """Ask the reference, in its own thread, a rung's question about some material."""
        given, bench = given or self.material, self.lab.bench("numpy")

        def job():
            self.open(bench, given.spec)
            return asking(part, given, trained)(bench.ask)

        return bench.submit(job).result()

    def climb(self):
        """Return where it stopped, and the likely cause."""
        return self.bench.submit(self._climb).result()

    def _climb(self):
        self.open(self.bench, self.material.spec, self.edit)
        trained = {}
        for rung, part in PARTS:
            found = asking(part, self.material, trained)(self.bench.ask)
            right = self._right(part, trained)
            if part == "trajectory":
                last = f"after step {STEPS}"
                kept = {place.path: value for place, value in right.items() if place.topic == last}
                trained = {path: value.astype(np.float32) for path, value in kept.items()}
            if part == "evaluation":
                answers, sure = (found, right), right
                found, right = (settled(a, sure, FLOAT64[part], self.material) for a in answers)
            judgement = judge(found, right, lambda place, part=part: FLOAT64[part])
            if not judgement.agrees:
                again = partial(self.by_reference, part, trained)
                known = {**RIGHT.get((self.name, "modes"), {}), **right}
                evidence = Evidence(judgement.place, found, known, self.material, again)
                return f"{rung}: {judgement.place}", likely_cause(evidence)
        return "", ""

    def _right(self, part, trained):
        if (self.name, part) not in RIGHT:
            is_structure = part == "structure"
            RIGHT[self.name, part] = (
                questions.wanted_structure(self.material)
                if is_structure
                else self.by_reference(part, trained)
            )
        return RIGHT[self.name, part]


RIGHT: dict = {}


def mutants():
    found = []
    for what, (who, edit, where, cause) in {**OLD, **MORE}.items():
        label, name = who.split()
        marks = installed(label)
        found.append(
            pytest.param(label, name, edit, where, cause, id=f"{label}: {what}", marks=marks)
        )
    return found


@pytest.mark.parametrize(("label", "name", "edit", "where", "cause"), mutants())
def test_the_ladder_stops_where_a_mistake_is_and_supposes_the_right_cause(
    lab, label, name, edit, where, cause
):
    found, supposed = Climber(lab, label, name, edit).climb()
    assert found == where
    if cause is not None:
        assert cause in supposed
        assert bool(cause) == bool(supposed), supposed


def test_there_are_enough_mutants_and_each_is_another():
    assert len(OLD) + len(MORE) >= 30
    assert not OLD.keys() & MORE.keys()


NETWORKS = ("norms", "activations", "groups", "averages", "blocks", "transposes", "pools")


CLIMBS = [("torch", name) for name in NETWORKS]
CLIMBS += [(label, "groups") for label in ("keras", "tensorflow", "flax")]  # a decay of 0.7


@pytest.mark.parametrize(
    ("label", "name"), [pytest.param(*climb, marks=installed(climb[0])) for climb in CLIMBS]
)
def test_without_a_mistake_it_climbs_to_the_top(lab, label, name):
    assert Climber(lab, label, name).climb() == ("", "")
