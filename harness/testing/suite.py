"""What every backend must do, as tests of pytest, to be subclassed by whoever writes one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.check.material import Material
from harness.contract import Device, Precision
from harness.errors import WorkerError
from harness.run.agreement import TOLERANCE, relative_difference
from harness.run.pending import Pending
from harness.testing import networks
from harness.testing.cases import CLOSED, OPTIMIZERS, drawn_masks, small
from harness.testing.subject import Arrays, Subject

SMALL = small("sgd")
SUBJECT = pytest.StashKey[Subject]()


class BackendContract:
    """Name the `target`; every test of this class is then one of the backend's.

    Attributes:
        target: `module:Class`, or `module:Class@variant`.
        networks: those that are taken up the ladder; all that the harness ships, if not narrowed.
        precision: float64 proves the most; float32, for a framework that has nothing else.
        device: cpu or gpu.
        timeout: seconds to wait for one answer.

    """

    target: ClassVar[str] = ""
    networks: ClassVar[Sequence[str]] = networks.NAMES
    precision: ClassVar[Precision] = "float64"
    device: ClassVar[Device] = "cpu"
    timeout: ClassVar[float] = 300.0

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """One test of the ladder for each network."""
        if "network" in metafunc.fixturenames:
            metafunc.parametrize("network", self.networks)

    @pytest.fixture
    def subject(
        self, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
    ) -> Subject:
        """The backend in a worker, the same for all tests of the class."""
        node = request.node.getparent(pytest.Class)
        if SUBJECT not in node.stash:
            folder = tmp_path_factory.mktemp("contract")
            arguments = (self.target, self.device, self.precision, self.timeout)
            node.stash[SUBJECT] = Subject(*arguments, folder)
            node.addfinalizer(node.stash[SUBJECT].close)
        subject: Subject = node.stash[SUBJECT]
        return subject

    def test_it_answers_every_question_of_a_worker(self, subject: Subject) -> None:
        """What is printed goes to a log; what is written to any other file is its own affair."""
        given = subject.open(SMALL, anew=True)
        subject.reset(given.parameters)
        batch = given.checked
        assert subject.ask("gradients", batch)[1]["logits"].shape == (given.batch, 3)
        assert len(subject.ask("activations", {"images": batch["images"]})[1]) == 6
        assert np.isfinite(subject.train(*steps(given, 2))).all()
        assert subject.state().keys() == given.parameters.keys()
        subject.ask("optimizer_state")
        subject.ask("memory")
        assert subject.cell.facts["framework_version"], "versions() names the framework first"
        assert subject.device in subject.cell.devices, "devices() names the device in use"

    def test_it_opens_the_source_that_lies_there(self, subject: Subject) -> None:
        """What you read is what is timed: a file that cannot be imported cannot be opened."""
        with pytest.raises(WorkerError, match="this very file was imported"):
            subject.open_source(SMALL, 'raise ImportError("this very file was imported")\n')

    def test_it_writes_the_same_source_each_time(self, subject: Subject) -> None:
        """Nothing in it is drawn, counted or dated."""
        subject.open(SMALL, anew=True)
        source = subject.source
        subject.open(SMALL, anew=True)
        assert subject.source == source

    def test_it_is_the_same_network_as_the_reference(self, subject: Subject, network: str) -> None:
        """Every rung of `python -m harness check`, as docs/equivalence.md explains them."""
        for finding in subject.climb(networks.network(network)):
            assert finding.status == "ok", f"{finding.rung}: {finding}"

    def test_reset_sets_every_parameter_and_running_statistic(self, subject: Subject) -> None:
        """Asked for, they are what was given."""
        given = subject.open(SMALL)
        subject.reset(given.parameters)
        subject.train(*steps(given, 3))
        subject.reset(given.parameters)
        alike(subject, subject.state(), given.parameters)

    @pytest.mark.parametrize("optimizer", OPTIMIZERS)
    def test_reset_makes_the_optimizer_new(self, subject: Subject, optimizer: str) -> None:
        """No velocity, moment or step count is left."""
        given = subject.open(small(optimizer))
        first, again = (trained(subject, given, masked=True) for _ in range(2))
        alike(subject, again, first)

    def test_reset_makes_the_random_state_new(self, subject: Subject) -> None:
        """The same seed draws the same dropout."""
        given = subject.open(SMALL)
        first, again = (trained(subject, given, seed=7) for _ in range(2))
        alike(subject, again, first)

    def test_dropout_is_drawn_by_the_seed_and_anew_for_every_step(self, subject: Subject) -> None:
        """On the same images, with a learning rate of 0, only dropout makes losses differ."""
        given = subject.open(SMALL)
        order, rates = np.tile(np.arange(given.batch), (4, 1)), np.zeros(4)
        losses = []
        for seed in (7, 8):
            subject.reset(given.parameters, seed)
            losses += subject.train(order, rates).tolist()
        assert len(np.unique(np.round(losses, 6))) == len(losses), "two steps drew the same"

    def test_dropout_drops_its_rate_and_scales_the_rest(self, subject: Subject) -> None:
        """What one step changes shows by what each input had been multiplied."""
        factors, rate = drawn_masks(subject)
        kept = factors > 0.1
        assert np.mean(~kept) == pytest.approx(rate, abs=0.05)  # five standard deviations
        assert factors[kept] == pytest.approx(1 / (1 - rate), rel=1e-3)

    def test_masks_that_are_given_are_used(self, subject: Subject) -> None:
        """Where nothing is kept nothing reaches the next layer; without masks, all does."""
        given = subject.open(networks.network("drawn"))
        batch = {k: v for k, v in given.checked.items() if not k.startswith("mask.")}
        ((name, mask),) = given.masks(-1, given.batch).items()
        subject.reset(given.parameters)
        found = subject.ask("gradients", batch)[1]
        plain = {"logits": found["predictions"]}
        alike(subject, {"logits": found["logits"]}, plain, exact=False)
        nothing = subject.ask("gradients", {**batch, name: np.zeros_like(mask)})[1]
        assert not np.any(nothing["gradient.dense1.kernel"]), "gradients pays no attention to masks"
        given = subject.open(SMALL)
        order, rates, masks = steps(given, 2, masked=True)
        subject.reset(given.parameters)
        one = subject.train(order, rates, masks)
        subject.reset(given.parameters)
        other = subject.train(order, rates, {k: np.zeros_like(v) for k, v in masks.items()})
        assert np.all(np.abs(one - other) > 1e-3), "train pays no attention to masks"

    @pytest.mark.parametrize("count", [1, 3])
    def test_a_partial_batch_counts_its_images_and_no_others(
        self, subject: Subject, count: int
    ) -> None:
        """The loss of a step is that of its own rows; a prediction is the same in any company."""
        given = subject.open(SMALL)
        subject.reset(given.parameters)
        rows, masks = np.arange(count), given.masks(0, count)
        batch = {"images": given.dataset.train_images[rows], **masks}
        batch["targets"] = given.dataset.train_labels[rows]
        fields, found = subject.ask("gradients", batch)
        stacked = {name: mask[np.newaxis] for name, mask in masks.items()}
        (loss,) = subject.train(rows[np.newaxis], np.zeros(1), stacked)
        assert loss == pytest.approx(fields["loss"], rel=TOLERANCE[subject.precision])
        subject.reset(given.parameters)
        whole = subject.ask("gradients", given.checked)[1]["predictions"]
        alike(subject, {"": found["predictions"]}, {"": whole[:count]}, exact=False)

    def test_evaluation_changes_nothing_that_is_kept(self, subject: Subject) -> None:
        """Nor does a gradient: training goes on as if nobody had asked."""
        given = subject.open(SMALL)
        undisturbed = trained(subject, given, seed=7, cuts=(2,))
        batch = given.checked

        def look() -> None:
            before = subject.state()
            subject.ask("gradients", batch)
            subject.ask("activations", {"images": batch["images"]})
            subject.ask("activations", batch, training=True)
            subject.ask("evaluate", split="test", batch_size=given.batch)
            subject.ask("optimizer_state")
            alike(subject, subject.state(), before)

        alike(subject, trained(subject, given, seed=7, cuts=(2,), between=look), undisturbed)

    def test_training_in_one_call_or_in_several_is_the_same(self, subject: Subject) -> None:
        """Where blocks end is the harness's affair."""
        given = subject.open(SMALL)
        whole = trained(subject, given, seed=7)
        alike(subject, trained(subject, given, seed=7, cuts=(1, 4)), whole)

    def test_loading_again_replaces_the_images(self, subject: Subject) -> None:
        """As before every epoch of augmented images."""
        given = subject.open(SMALL, anew=True)
        first = trained(subject, given, masked=True)
        np.save(subject.data / "others.npy", -given.dataset.train_images)
        subject.ask("load", images="others")
        other = trained(subject, given, masked=True)
        assert not np.allclose(other["losses"], first["losses"], rtol=1e-3)
        subject.ask("load", images="train_images")
        alike(subject, trained(subject, given, masked=True), first)

    def test_what_it_returned_never_changes(self, subject: Subject) -> None:
        """Arrays are NumPy's own: not a view of memory that the next step writes to."""
        given = subject.open(SMALL, anew=True)
        subject.reset(given.parameters)
        subject.train(*steps(given, 1))
        subject.ask("gradients", given.checked)
        subject.ask("activations", {"images": given.checked["images"]})
        subject.ask("optimizer_state")
        subject.state()
        try:
            subject.train(*steps(given, 2))
            subject.reset(given.parameters)
        except WorkerError as error:
            pytest.fail(str(error))

    def test_train_returns_when_its_device_is_done(self, subject: Subject) -> None:
        """See harness/run/pending.py; a loaded machine alone raises no alarm."""
        given = subject.open(SMALL)
        batch = np.arange(given.batch)
        fields, _ = subject.ask("pending", {**given.parameters, "batch": batch}, rate=1e-4)
        found = Pending(**{name: fields[name] for name in ("steps", "train", "fetch", "idle")})
        assert not found.is_early, str(found)

    def test_close_frees_what_the_session_held(self, subject: Subject) -> None:
        """The data sets of many sessions that were closed do not add up in memory."""
        held_then, dataset = [], CLOSED.dataset(subject.folder)
        for _ in range(2 + CLOSED.sessions):
            subject.open(CLOSED.spec, "Keeping", anew=True, dataset=dataset)
            device = subject.ask("memory")[0]["device"] or 0
            subject.ask("close")
            held_then.append((subject.host_bytes(), device))
        grown = max(last - first for first, last in zip(held_then[1], held_then[-1], strict=True))
        held = CLOSED.bytes * CLOSED.sessions
        assert grown < held / 2, f"{grown:,} bytes more after sessions with {held:,} were closed"


def steps(
    given: Material, count: int, masked: bool = False
) -> tuple[NDArray[np.int64], NDArray[Any], Arrays]:
    """Return rows, rates and masks of the first steps with full batches, row numbers reused."""
    rows = np.arange(count * given.batch) % len(given.dataset.train_images)
    order = rows.reshape(count, given.batch)
    each = [given.masks(step, given.batch) for step in range(count)] if masked else []
    masks = {name: np.stack([one[name] for one in each]) for name in (each[0] if each else {})}
    return order, np.full(count, given.trajectory[0].rates[0]), masks


def trained(
    subject: Subject,
    given: Material,
    seed: int = 0,
    masked: bool = False,
    cuts: Sequence[int] = (),
    between: Any = None,
) -> Arrays:
    """Reset, train six steps in as many calls as the cuts make; return losses and what is left."""
    subject.reset(given.parameters, seed)
    order, rates, masks = steps(given, 6, masked)
    losses: list[NDArray[Any]] = []
    for part in np.split(np.arange(len(order)), cuts):
        if losses and between:
            between()
        losses.append(
            subject.train(order[part], rates[part], {k: v[part] for k, v in masks.items()})
        )
    return {"losses": np.concatenate(losses), **subject.state()}


def alike(subject: Subject, found: Arrays, wanted: Arrays, exact: bool | None = None) -> None:
    """Compare arrays: to the bit on a CPU, unless told otherwise; within tolerance on a GPU."""
    exact = subject.device == "cpu" if exact is None else exact
    tolerance = 0.0 if exact else TOLERANCE[subject.precision]
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        difference = relative_difference(found[name], value)
        assert difference <= tolerance, f"{name} differs by {difference:.1e}"
