from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from harness.run.folder import SAMPLE_COLUMNS, SUMMARY_COLUMNS, ResultsFolder
from harness.show.table import read_lines, remarks, results_table


def row(backend="torch", variant="", seed=0, **changes):
    sound = {
        "status": "ok",
        "backend": backend,
        "variant": variant,
        "device": "cpu",
        "seed": seed,
        "precision": "float32",
        "equivalent": True,
        "equivalence_difference": 1e-6,
        "equivalence_where": "logits",
        "train_images_per_second": 1000.0,
        "predict_images_per_second": 2000.0,
        "compile_seconds": 0.5,
        "peak_host_bytes": 400_000_000,
        "test_accuracy": 0.98,
    }
    return {**sound, **changes}


def block(backend="torch", seconds=1.0, seed=0, round_number=0):
    return {
        "backend": backend,
        "variant": "",
        "device": "cpu",
        "seed": seed,
        "round": round_number,
        "phase": "train",
        "steps": 1,
        "images": 128,
        "seconds": seconds,
    }


@pytest.fixture
def show(tmp_path):
    """Write rows and blocks to a results folder, and read from it table and remarks."""

    def shown(rows, blocks=()):
        folder = ResultsFolder(tmp_path / "run")
        folder.add_samples(blocks)
        folder.write_summary(rows)
        folder.close()
        lines = read_lines(folder.path)
        console = Console(file=io.StringIO(), width=80)
        console.print(results_table(lines))
        return console.file.getvalue(), remarks(lines)

    return shown


def test_the_fastest_comes_first_with_ratio_one(show):
    rows = [row("torch"), row("flax", train_images_per_second=4000.0)]
    table, _ = show(rows, [block("torch", 4.0), block("flax", 1.0)])
    torch, flax = (
        next(line for line in table.splitlines() if line.startswith(name))
        for name in ("torch", "flax")
    )
    assert table.index("flax") < table.index("torch")
    assert "4,000    1.00" in flax
    assert "1,000    4.00" in torch


def test_the_ratio_is_paired_by_round_so_a_disturbance_of_both_leaves_it(show):
    rows = [row("torch", train_images_per_second=900.0), row("flax")]
    rounds = [(2.0, 1.0), (20.0, 10.0), (2.0, 1.0)]
    blocks = [
        block(name, seconds, round_number=number)
        for number, pair in enumerate(rounds)
        for name, seconds in zip(("torch", "flax"), pair, strict=True)
    ]
    table, _ = show(rows, blocks)
    assert "2.00" in next(line for line in table.splitlines() if line.startswith("torch"))


def test_a_backend_that_differs_is_named_and_its_speed_is_not_compared(show):
    wrong = row(
        "flax",
        train_images_per_second=9000.0,
        equivalent=False,
        equivalence_difference=0.25,
        equivalence_where="gradient.conv1.kernel",
    )
    table, said = show([row("torch"), wrong], [block("torch"), block("flax")])
    flax = next(line for line in table.splitlines() if line.startswith("flax"))
    assert "NO" in flax
    assert "(9,000)" in flax
    assert table.index("torch") < table.index("flax"), "it is no candidate for the fastest"
    assert "gradient.conv1.kernel differs by 2.5e-01" in said[0]
    assert "not comparable" in said[0]


def test_a_failed_backend_keeps_its_line_and_its_reason(show):
    broken = row("flax", status="crashed", error="flax: the worker ended with SIGSEGV\nmore")
    table, said = show([row("torch"), broken])
    assert "crashed" in next(line for line in table.splitlines() if line.startswith("flax"))
    assert "flax on cpu, seed 0: crashed: flax: the worker ended with SIGSEGV" in said


def test_accuracy_is_mean_and_spread_over_seeds(show):
    rows = [row(seed=seed, test_accuracy=value) for seed, value in enumerate([0.97, 0.98, 0.99])]
    table, _ = show(rows)
    assert "98.00 ± 1.00" in table


def test_one_seed_is_no_verdict_on_accuracy(show):
    _, said = show([row("torch"), row("flax", test_accuracy=0.975)])
    assert any("within 0.50 points; from one seed that is no verdict" in line for line in said)


def test_several_seeds_give_a_verdict_on_accuracy(show):
    rows = [
        row(name, seed=seed, test_accuracy=0.98 + 0.0001 * ((seed + shift) % 3))
        for shift, name in enumerate(["torch", "flax"])
        for seed in range(3)
    ]
    _, said = show(rows)
    assert any(line.startswith("Accuracies are comparable within 1 point") for line in said)


def test_the_table_fits_eighty_columns_with_the_longest_name(show):
    long = row(
        "tensorflow",
        "session",
        train_images_per_second=123456.0,
        predict_images_per_second=123456.0,
        compile_seconds=123.45,
        peak_host_bytes=12_345_000_000,
    )
    table, _ = show([dict(long, seed=0), dict(long, seed=1, test_accuracy=0.95)])
    assert "…" not in table
    assert max(map(len, table.splitlines())) <= 80


def test_the_share_of_the_limit_is_shown_where_there_is_room(show):
    table, _ = show([row("torch", fraction_of_limit=0.257)], [block("torch")])
    assert "% of" in table
    assert table.splitlines()[-1].endswith(" 26")
    assert max(map(len, table.splitlines())) <= 80


def test_where_there_is_none_the_share_is_left_out(show):
    wide = row(
        "tensorflow",
        "session",
        fraction_of_limit=0.257,
        train_images_per_second=123456.0,
        predict_images_per_second=123456.0,
        compile_seconds=123.45,
        peak_host_bytes=12_345_000_000,
    )
    table, _ = show([dict(wide, seed=0), dict(wide, seed=1, test_accuracy=0.95)])
    assert "limit" not in table
    assert "123,456" in table


def test_more_than_the_limit_is_doubted(show):
    _, said = show([row("torch", fraction_of_limit=1.2)])
    assert any("faster than the limit" in line and "machine --measure" in line for line in said)


def test_seconds_to_the_target_take_the_place_of_the_first_step(show):
    fast = {"target_accuracy": 0.95, "epochs": 5}
    rows = [
        row("torch", seed=0, seconds_to_target=2.0, epochs_to_target=2, **fast),
        row("torch", seed=1, seconds_to_target=4.0, epochs_to_target=3, **fast),
        row("flax", seed=0, seconds_to_target=2.0, epochs_to_target=2, **fast),
        row("flax", seed=1, test_accuracy=0.93, **fast),
        row("keras", seed=0, test_accuracy=0.91, **fast),
        row("keras", seed=1, test_accuracy=0.92, **fast),
    ]
    table, said = show(rows)
    assert "95 %" in table
    cells = {line.split()[0]: line for line in table.splitlines()[2:]}
    assert "3.00" in cells["torch"]
    assert "1 of 2" in cells["flax"]
    assert "never" in cells["keras"]
    assert (
        "keras on cpu did not reach 95 % in 5 epochs with seeds 0, 1; at the end at most 92.00 %"
        in said
    )
    assert any(
        line.startswith("flax on cpu did not reach 95 % in 5 epochs with seed 1;") for line in said
    )
    assert not any("Accuracies" in line for line in said)


def test_every_column_is_explained_beside_the_results():
    text = (Path(__file__).parents[2] / "results" / "README.md").read_text(encoding="utf-8")
    missing = [name for name in (*SUMMARY_COLUMNS, *SAMPLE_COLUMNS) if f"`{name}`" not in text]
    assert missing == []


def test_where_targets_are_values_the_table_has_their_error_and_there_is_no_verdict(show):
    rows = [
        row(name, seed=seed, test_accuracy=None, test_rmse=0.02 * (seed + 1), test_mae=0.01)
        for name in ("torch", "flax")
        for seed in range(2)
    ]
    table, said = show(rows)
    assert "rmse" in table
    assert "accuracy" not in table
    assert "0.03 ± 0.0141" in table
    assert said == []
