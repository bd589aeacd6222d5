"""Verdicts in a terminal: a table, and a line for each that needs words."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from harness.verdict.report import Finding, Report

STYLES = {
    "OK": "green",
    "IMPROVED": "bold green",
    "REGRESSED": "bold red",
    "FAILED": "bold red",
    "INCONCLUSIVE": "yellow",
    "MISSING": "yellow",
    "CHANGED": "yellow",
}


def verdict_table(report: Report) -> Table:
    """Return one line for each finding: the cell, the measure, the effect, the verdict."""
    several = len({finding.against for finding in report.findings}) > 1
    names = [*(["against"] if several else []), "cell", "measure", "change", "interval", "pairs"]
    table = Table(pad_edge=False, box=None, header_style="bold")
    for name in (*names, "verdict"):
        table.add_column(name, overflow="fold")
    for finding in report.findings:
        columns = [
            *([finding.against] if several else []),
            finding.cell,
            finding.measure,
            finding.effect,
            finding.interval,
            pairs_of(finding),
        ]
        # Names may hold brackets, which are no markup.
        verdict = Text(finding.verdict, STYLES[finding.verdict])
        table.add_row(*map(Text, columns), verdict)
    return table


def pairs_of(finding: Finding) -> str:
    """Return on how many pairs of processes the verdict rests."""
    return str(finding.judgement.pairs) if finding.judgement else ""


def verdict_lines(report: Report) -> list[str]:
    """Return what the table cannot say: what differs, what failed, what would settle it."""
    lines = [f"{f.name}: {f.verdict}: {f.detail}" for f in report.findings if f.detail]
    return [*lines, *report.remarks]
