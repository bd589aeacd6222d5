"""What the doctor found, line by line, with what mends it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from harness.doctor.finding import Finding

MARKS = {"ok": ("ok", "green"), "note": ("note", "yellow"), "wrong": ("WRONG", "bold red")}
WIDTH = 5  # of the longest mark


def doctor_lines(findings: Sequence[Finding]) -> Iterator[Text]:
    """Yield a heading for each part, its findings, and at the end what it comes to."""
    width = max((len(finding.subject) for finding in findings), default=0)
    for part in dict.fromkeys(finding.part for finding in findings):
        yield Text(part, "bold")
        for finding in findings:
            if finding.part == part:
                yield from _lines(finding, width)
    wrong = [finding for finding in findings if finding.level == "wrong"]
    notes = sum(finding.level == "note" for finding in findings)
    noted = f", {notes} worth a note" if notes else ""
    yield Text()
    if wrong:
        names = ", ".join(dict.fromkeys(finding.subject for finding in wrong))
        count = f"{len(wrong)} thing{'s are' if len(wrong) > 1 else ' is'}"
        yield Text(f"{count} wrong: {names}; {len(findings)} looked at{noted}.", "bold red")
    else:
        yield Text(f"All well: {len(findings)} looked at{noted}.", "green")


def _lines(finding: Finding, width: int) -> Iterator[Text]:
    mark, style = MARKS[finding.level]
    line = Text("  ")
    line.append(f"{mark:{WIDTH}}", style)
    yield line.append(f"  {finding.subject:{width}}  {finding.said}")
    if finding.mend:
        yield Text(f"  {'':{WIDTH}}  {'':{width}}  Try: {finding.mend}")
