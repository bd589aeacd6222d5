"""Given its training set in windows, every backend trains as on the whole of it."""

from __future__ import annotations

import numpy as np
import pytest
from studies import RATES, STEPS, cases, material, network

ROWS = np.array([[0, 5, 10, 2], [7, 12, 4, 9], [1, 6, 11, 3], [8, 0, 5, 10]])


@pytest.mark.parametrize("case", cases(["dropouts"]))
def test_windows_change_neither_losses_nor_weights_nor_what_dropout_draws(lab, case):
    name = case.network
    rates = RATES[:STEPS] * network(name).training.optimizer.learning_rate

    def job(ask):
        found = []
        for window_bytes in (0, 1):
            ask(
                "open",
                spec=network(name).model_dump_json(),
                source=str(lab.bench(case.label).source(name)),
                data=str(lab.folder / name),
                window_bytes=window_bytes,
            )
            ask("reset", material(name).parameters, seed=1)
            losses = ask("train", {"order": ROWS, "rates": rates})[1]["losses"]
            found.append({"losses": losses, **ask("state")[1]})
        return found

    whole, streamed = lab.work(case, job)
    assert len(set(whole["losses"])) == STEPS
    for path, values in whole.items():
        assert np.allclose(streamed[path], values, rtol=1e-9, atol=1e-12), path
