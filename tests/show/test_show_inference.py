from __future__ import annotations

import io

from rich.console import Console

from harness.show.inference import inference_table, remarks


def row(backend, size, variant="", **changes):
    sound = {
        "status": "ok",
        "error": "",
        "backend": backend,
        "variant": variant,
        "device": "cpu",
        "batch_size": size,
        "equivalent": True,
        "equivalence_difference": 1e-7,
        "images_per_second": 1000.0 * size,
        "ms_p50": 1.0,
        "ms_p99": 2.5,
    }
    return {**sound, **changes}


def shown(rows):
    console = Console(file=io.StringIO(), width=80)
    console.print(inference_table(rows))
    return console.file.getvalue()


SIZES = (1, 8, 32, 128, 1024)


def test_a_line_has_both_latencies_and_a_rate_for_each_batch_and_fits_eighty_columns():
    rows = [row("tensorflow", size, "session") for size in SIZES]
    rows += [row("torch", size, images_per_second=9_999_999.0) for size in SIZES]
    table = shown(rows)
    assert max(map(len, table.splitlines())) <= 80
    assert "…" not in table
    torch, tensorflow = table.splitlines()[2:]
    assert torch.split() == ["torch", "cpu", "yes", "1.00", "2.50", *["10.00M"] * 4]
    assert tensorflow.split()[5:] == ["8,000", "32,000", "128,000", "1.02M"]


def test_another_network_comes_last_and_is_named():
    rows = [row("wrong", 8, images_per_second=9e9, equivalent=False, equivalence_difference=0.25)]
    rows += [row("torch", 8)]
    table = shown(rows)
    assert table.index("torch") < table.index("wrong")
    assert "NO" in table
    assert remarks(rows) == [
        "wrong on cpu is NOT the same network: its logits differ by 2.5e-01; its speed is not "
        "comparable"
    ]


def test_a_size_that_failed_has_its_status_and_reason():
    lost = {"images_per_second": None, "ms_p50": None, "ms_p99": None}
    failed = row("torch", 1024, status="out-of-memory", error="torch: no room\nmore", **lost)
    rows = [row("torch", 1), failed]
    assert "out-of-memory" in shown(rows)
    assert remarks(rows) == ["torch on cpu, batches of 1024: out-of-memory: torch: no room"]
    everywhere = row("torch", 1, status="crashed", error="gone", equivalent=None, **lost)
    assert "crashed" in shown([everywhere, failed])
