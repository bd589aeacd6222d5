"""Losses, optimizers and schedules drawn at random."""

from __future__ import annotations

from hypothesis import strategies as st

from harness.fuzz.layers import Draw, Fields, one_of, rarely, up_to
from harness.spec.training import OPTIMIZER_TYPES, SCHEDULE_TYPES

LOSSES = ("cross_entropy", "mean_squared_error", "binary_cross_entropy", "huber")
MOST_BATCH = 8  # of a check, too


def drawn_training(draw: Draw) -> Fields:
    """Draw the table `[training]`.

    Not among it: augmentation and the validation split, which are the harness's own, the same for
    all backends.
    """
    fields: Fields = {"loss": one_of(draw, *LOSSES)}
    if fields["loss"] == "cross_entropy" and rarely(draw):
        fields["label_smoothing"] = one_of(draw, 0.1, 0.5)
    if draw(st.booleans()):
        fields["clip_norm"] = one_of(draw, 1.0, 0.1, 10.0)
    batch_size = one_of(draw, 8, *range(1, MOST_BATCH))
    fields |= {"batch_size": batch_size, "epochs": up_to(draw, 4)}
    if draw(st.booleans()):
        fields["last_batch"] = "keep"
    fields["optimizer"] = _optimizer(draw)
    if draw(st.booleans()):
        fields["schedule"] = _schedule(draw)
    return fields


def _optimizer(draw: Draw) -> Fields:
    kind = one_of(draw, *OPTIMIZER_TYPES)
    fields: Fields = {"type": kind, "learning_rate": one_of(draw, 0.01, 0.001, 0.05)}
    if kind == "sgd":
        momentum = one_of(draw, 0.0, 0.9, 0.5)
        fields |= {"momentum": momentum} if momentum else {}
        fields |= {"nesterov": True} if momentum and draw(st.booleans()) else {}
        fields |= _decay(draw, "l2")
    elif kind == "rmsprop":
        fields |= {"decay": one_of(draw, 0.9, 0.5, 0.0), "epsilon": one_of(draw, 1e-7, 1e-3)}
        fields |= {"momentum": 0.9} if draw(st.booleans()) else {}
    else:
        fields |= {"beta1": one_of(draw, 0.9, 0.5, 0.0), "beta2": one_of(draw, 0.999, 0.9)}
        fields["epsilon"] = one_of(draw, 1e-8, 1e-3)
        fields |= _decay(draw, "weight_decay") if kind == "adamw" else {}
    return fields


def _decay(draw: Draw, field: str) -> Fields:
    value = one_of(draw, 0.0, 0.1, 0.001)
    everywhere = {"decay_all": True} if value and draw(st.booleans()) else {}
    return {field: value, **everywhere}


def _schedule(draw: Draw) -> Fields:
    kind = one_of(draw, *SCHEDULE_TYPES)
    fields: Fields = {"type": kind}
    if kind == "one_cycle":
        fields |= {"peak": one_of(draw, 0.3, 0.5), "start": one_of(draw, 25.0, 4.0)}
        return {**fields, "final": one_of(draw, 1e4, 10.0)}
    if kind == "step":
        fields |= {"epochs": one_of(draw, (1.0,), (1.0, 2.0)), "gamma": one_of(draw, 0.1, 0.5)}
    if kind == "cosine":
        fields["final"] = one_of(draw, 0.0, 0.1)
    warm_up = one_of(draw, 0.0, 0.5, 1.0)
    return {**fields, "warmup_epochs": warm_up} if warm_up else fields
