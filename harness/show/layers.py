"""A network as a table of its layers, as those who know `keras.Model.summary()` expect it."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from harness.spec import Network, Node


def layer_rows(network: Network) -> list[dict[str, Any]]:
    """Return one object for each layer, in the order in which they run.

    `parameters` are trained, `statistics` are kept as they go by; `flops` are forward, per image.
    """
    return [
        {
            "path": node.path,
            "type": node.layer.type,
            "activation": node.activation,
            "output": list(node.output_shape),
            "parameters": sum(p.size for p in node.parameters),
            "statistics": sum(p.size for p in node.statistics),
            "flops": node.flops,
        }
        for node in network.nodes
    ]


def layer_table(network: Network) -> Table:
    """Return the table, closed by a line of totals."""
    table = Table(pad_edge=False, box=None, header_style="bold", show_footer=True)
    statistics = sum(p.size for p in network.statistics)
    kept = f" (and {statistics:,} statistics)" if statistics else ""
    table.add_column("path", f"{len(network.nodes)} layers", no_wrap=True)
    table.add_column("layer")
    table.add_column("output", _shape(network.output_shape))
    table.add_column("parameters", f"{network.parameter_count:,}", justify="right")
    table.add_column("MFLOP", f"{network.flops_per_image / 1e6:,.2f}", justify="right")
    for node in network.nodes:
        count = sum(p.size for p in node.parameters)
        flops = f"{node.flops / 1e6:,.2f}" if node.flops else ""
        table.add_row(node.path, _words(node), _shape(node.output_shape), f"{count:,}", flops)
    table.caption = f"Parameters are those trained{kept}; operations are forward, per image."
    table.caption_justify = "left"
    return table


def _words(node: Node) -> str:
    kind = node.layer.type
    if kind == "activation":
        return node.activation
    return kind if node.activation == "linear" else f"{kind}, {node.activation}"


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
