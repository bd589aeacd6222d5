"""Verdicts for continuous integration: Markdown, GitHub's annotations, JUnit XML."""

from __future__ import annotations

from xml.etree import ElementTree

from harness.show.verdicts import pairs_of, verdict_lines
from harness.verdict.judge import EXIT
from harness.verdict.report import Finding, Report

SIGNS = {"OK": "✅", "IMPROVED": "🚀", "REGRESSED": "❌", "FAILED": "💥"}
OPEN = "❔"
LEVELS = {"REGRESSED": "error", "FAILED": "error", "IMPROVED": "notice", "OK": "notice"}


def as_markdown(report: Report) -> str:
    """Return a table for a comment or a step's summary, in GitHub's Markdown."""
    lines = [
        f"### {_cell(report.title)}",
        "",
        "| cell | measure | change | interval | pairs | verdict |",
        "| --- | --- | ---: | ---: | ---: | --- |",
    ]
    for finding in report.findings:
        verdict = f"{SIGNS.get(finding.verdict, OPEN)} {finding.verdict}"
        columns = (
            finding.cell,
            finding.measure,
            finding.effect,
            finding.interval,
            pairs_of(finding),
            verdict,
        )
        lines.append(f"| {' | '.join(map(_cell, columns))} |")
    lines += ["", *(f"- {_cell(line)}" for line in verdict_lines(report)), ""]
    return "\n".join(lines)


def _cell(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
    return " ".join(escaped.replace("`", "\\`").replace("*", "\\*").replace("_", "\\_").split())


def github_annotations(report: Report) -> list[str]:
    """Return a workflow command of GitHub Actions for each finding that is no plain OK.

    https://docs.github.com/actions/reference/workflow-commands-for-github-actions
    """
    return [
        f"::{LEVELS.get(finding.verdict, 'warning')} "
        f"title={_property(f'{finding.verdict} {finding.name}')}::{_data(_words(finding))}"
        for finding in report.findings
        if finding.verdict != "OK"
    ]


def _words(finding: Finding) -> str:
    figures = f"{finding.effect} ({finding.interval})" if finding.interval else finding.effect
    return "; ".join(filter(None, [figures, finding.detail])) or finding.verdict


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def as_junit(report: Report) -> bytes:
    """Return JUnit XML, one test case for each finding.

    REGRESSED is a failure, FAILED an error; what was not decided is skipped, as no test has
    shown anything, unless it makes the command fail: then it is a failure, too.
    """
    suite = ElementTree.Element("testsuite", name=_xml(report.title))
    counts = {"failure": 0, "error": 0, "skipped": 0}
    for finding in report.findings:
        case = ElementTree.SubElement(
            suite, "testcase", classname=_xml(finding.cell), name=_xml(finding.measure), time="0"
        )
        kind = _outcome(finding, report.inconclusive_ok)
        if kind:
            counts[kind] += 1
            text = _xml(_words(finding))
            inner = ElementTree.SubElement(case, kind, message=f"{finding.verdict}: {text}")
            if kind != "skipped":
                inner.set("type", finding.verdict)
                inner.text = text
    suite.set("tests", str(len(report.findings)))
    suite.set("failures", str(counts["failure"]))
    suite.set("errors", str(counts["error"]))
    suite.set("skipped", str(counts["skipped"]))
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    whole: bytes = ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)
    return whole + b"\n"


def _outcome(finding: Finding, inconclusive_ok: bool) -> str:
    if finding.verdict == "FAILED":
        return "error"
    if finding.verdict == "INCONCLUSIVE" and inconclusive_ok:
        return "skipped"
    return "failure" if EXIT[finding.verdict] else ""


def _xml(text: str) -> str:
    """Leave out control characters, which XML 1.0 cannot hold in any form."""
    return "".join(c for c in text if c in "\t\n" or (c >= " " and not "\ud800" <= c <= "\udfff"))
