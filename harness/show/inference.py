"""The table of timed predictions: one line for each backend and device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

Row = Mapping[str, Any]


def inference_table(rows: Sequence[Row]) -> Table:
    """Lay out what `inference.measure` returns; the fastest at the largest batch comes first.

    At a batch of one, milliseconds of a call; at larger ones, images per second.
    """
    lines: dict[tuple[str, str], dict[int, Row]] = {}
    for row in rows:
        lines.setdefault((_label(row), row["device"]), {})[row["batch_size"]] = row
    sizes = sorted({row["batch_size"] for row in rows})
    table = Table(pad_edge=False, box=None, header_style="bold", padding=(0, 1, 0, 0))
    for name in ("\nbackend", "\non", "same\nnet"):
        table.add_column(name, no_wrap=True)
    latencies = [name for name in ("1 image\nms p50", "\nms p99") if 1 in sizes]
    batches = [size for size in sizes if size > 1]
    rates = [f"images/s\nof {size}" for size in batches]
    for name in (*latencies, *rates):
        table.add_column(name, justify="right", no_wrap=True)
    for (label, device), by_size in sorted(lines.items(), key=lambda line: _order(line[1])):
        table.add_row(label, device, *_cells(by_size, sizes))
    return table


def _label(row: Row) -> str:
    return f"{row['backend']}@{row['variant']}" if row["variant"] else str(row["backend"])


def _order(by_size: Mapping[int, Row]) -> tuple[bool, float]:
    """Sort those that are another network last, then by speed at the largest batch."""
    speeds = [row.get("images_per_second") or 0.0 for _, row in sorted(by_size.items())]
    return not all(row.get("equivalent") for row in by_size.values()), -speeds[-1]


def _cells(by_size: Mapping[int, Row], sizes: Sequence[int]) -> list[Text]:
    is_same = next(iter(by_size.values())).get("equivalent")
    words = {True: Text("yes", "green"), False: Text("NO", "bold red"), None: Text("")}
    cells = [words[is_same]]
    for size in sizes:
        row = by_size[size]
        if row["status"] != "ok":
            cells += [Text(row["status"], "red"), Text("")][: 2 if size == 1 else 1]
        elif size == 1:
            cells += [Text(f"{row[name]:.2f}") for name in ("ms_p50", "ms_p99")]
        else:
            cells.append(Text(_rate(row["images_per_second"])))
    return cells


def _rate(value: float) -> str:
    return f"{value / 1e6:.2f}M" if value >= 1e6 else f"{value:,.0f}"


def remarks(rows: Sequence[Row]) -> list[str]:
    """Return who is another network and by how much, and who failed at which size."""
    found = []
    for row in rows:
        where = f"{_label(row)} on {row['device']}"
        if row.get("equivalent") is False:
            found.append(
                f"{where} is NOT the same network: its logits differ by "
                f"{row['equivalence_difference']:.1e}; its speed is not comparable"
            )
        if row["status"] != "ok":
            reason = str(row["error"]).partition("\n")[0]
            found.append(f"{where}, batches of {row['batch_size']}: {row['status']}: {reason}")
    return list(dict.fromkeys(found))
