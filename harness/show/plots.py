"""Results as figures for papers and slides: PNG and SVG, drawn by matplotlib.

The same figures, curves and colours as on the page, which `harness.show.page` computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UsageError
from harness.show.gather import Case, gather
from harness.show.page.costs import PHASES, phase_seconds
from harness.show.page.keys import COLOURS, OKABE_ITO, Keys
from harness.show.page.learning import SCORES, Curve, averaged, evaluated, training_loss
from harness.show.page.overview import titles
from harness.show.table import Line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMS = ("png", "svg")
DASHES = ("-", "--", ":", "-.")
GREYS = ("#1f2126", "#55585f", "#56B4E9", "#bfe2f7", "#d3d3d3", "#f0c15a")  # of PHASES, as they go
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 200,
    "svg.hashsalt": "cnn-harness",  # the same results make the same file
    "svg.fonttype": "none",  # text stays text
}


def plot(places: Sequence[Path], out: Path) -> tuple[list[Path], list[str]]:
    """Write the figures of the results at `places` to `out`; return files, and what was left out.

    Raises:
        UsageError: nothing could be read, matplotlib is missing, or `out` cannot be written to.

    """
    _see_that_matplotlib_is_there()
    runs, problems = gather(places)
    cases = [case for run in runs for case in run.cases]
    keys = Keys(line for case in cases for line in case.lines)
    written: list[Path] = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for case, title in zip(cases, titles(cases), strict=True):
            stem = "" if len(cases) == 1 else f"{_stem(case)}-{case.run.run_id}-"
            for name, draw in FIGURES.items():
                with _figure(title) as figure:
                    if draw(figure, case, keys):
                        for form in FORMS:
                            path = out / f"{stem}{name}.{form}"
                            figure.savefig(path, metadata={"Date": None} if form == "svg" else {})
                            written.append(path)
    except OSError as error:
        raise UsageError(
            f"cannot write figures to {out}: {error.strerror}. Try: -o with another folder"
        ) from None
    return written, problems


def _see_that_matplotlib_is_there() -> None:
    try:
        import matplotlib  # noqa: F401 (only whether it is there)
    except ImportError:
        raise UsageError(
            "plots need matplotlib. Try: pip install 'cnn-harness[plots]', or without it: "
            "python -m harness report"
        ) from None


def _stem(case: Case) -> str:
    text = f"{case.first('model')}-{case.first('dataset')}-b{case.first('batch_size')}"
    return "".join(letter if letter.isalnum() or letter in "-." else "_" for letter in text)


@contextmanager
def _figure(title: str) -> Iterator[Figure]:
    """A figure without a window, in our style."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure()
        figure.suptitle(title, x=0.01, ha="left", fontsize=9, color="#555555", parse_math=False)
        yield figure


def _look(keys: Keys, line: Line) -> dict[str, Any]:
    """Colour and dashes of a line: another device, or a colour's second use, is dashed."""
    number = keys.numbers[line.backend]
    dash = number // COLOURS + keys.devices.index(line.device)
    return {"color": OKABE_ITO[number % COLOURS], "linestyle": DASHES[dash % len(DASHES)]}


def _names(axes: Axes, lines: Sequence[Line], keys: Keys) -> None:
    """Name rows by their lines, the first on top."""
    axes.set_yticks(range(len(lines)), [keys.of(line).name for line in lines], parse_math=False)
    axes.invert_yaxis()
    axes.grid(False, axis="y")


def throughput(figure: Figure, case: Case, keys: Keys) -> bool:
    """Images trained in a second, with the 95 % interval of the median, and single seeds."""
    column = "train_images_per_second"
    lines = [line for line in case.lines if line.values(column)]
    if not lines:
        return False
    figure.set_size_inches(6, 0.9 + 0.38 * len(lines))
    axes = figure.subplots()
    for row, line in enumerate(lines):
        value = line.typical(column) or 0.0
        low, high = line.typical(f"{column}_low"), line.typical(f"{column}_high")
        colour = _look(keys, line)["color"]
        hatch = {} if line.comparable else {"fill": False, "hatch": "////", "edgecolor": colour}
        axes.barh(row, value, 0.62, **({"color": colour} | hatch))
        if low and high:
            errors = [[value - low], [high - value]]
            axes.errorbar(value, row, xerr=errors, color="black", capsize=3, linewidth=1)
        if len(line.values(column)) > 1:
            seeds = line.values(column)
            axes.plot(
                seeds, [row + 0.24] * len(seeds), "o", ms=2.5, mfc="white", mec="black", mew=0.7
            )
        text = f"  {value:,.0f}" + ("" if line.comparable else ", another network")
        axes.text(max(value, *line.values(column), high or 0.0), row, text, va="center")
    axes.set_xlim(0, 1.16 * max(axes.get_xlim()[1], 1))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("images trained per second")
    _names(axes, lines, keys)
    return True


def learning(figure: Figure, case: Case, keys: Keys) -> bool:
    """Scores and the training loss: a row by epoch, a row by second of training."""
    curves: dict[str, list[tuple[Line, dict[object, Curve]]]] = {
        title: [(line, evaluated(case, line, column)) for line in case.lines]
        for column, title in SCORES
    }
    curves["Training loss"] = [(line, training_loss(line)) for line in case.lines]
    curves = {title: own for title, own in curves.items() if any(found for _, found in own)}
    if not curves:
        return False
    figure.set_size_inches(3 * len(curves), 4.6)
    grid = figure.subplots(2, len(curves), squeeze=False, sharey="col")
    for column, (title, own) in enumerate(curves.items()):
        for row, over in enumerate(("epochs", "seconds")):
            axes = grid[row][column]
            _curves(axes, own, keys, over, 100 if title == "Accuracy" else 1)
            axes.set_xlabel("epochs" if over == "epochs" else "seconds of training")
            axes.set_xlim(left=0)
            axes.set_title("" if row else title + (", per cent" if title == "Accuracy" else ""))
            low, high = axes.dataLim.intervaly
            if low > 0 and high > 10 * low:
                axes.set_yscale("log")
                axes.yaxis.set_major_formatter("{x:g}")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4))
    return True


def _curves(
    axes: Axes, own: list[tuple[Line, dict[object, Curve]]], keys: Keys, over: str, factor: float
) -> None:
    for line, found in own:
        look = _look(keys, line)
        if len(found) > 1:
            for curve in found.values():
                axes.plot(*_places(curve, over, factor), **look, linewidth=0.6, alpha=0.45)
        average = averaged(found)
        marker: dict[str, Any] = {"marker": "o", "markersize": 3} if len(average) <= 12 else {}
        name = keys.of(line).name
        axes.plot(*_places(average, over, factor), **look, linewidth=1.7, label=name, **marker)


def _places(curve: Curve, over: str, factor: float) -> tuple[list[float], list[float]]:
    return [getattr(p, over) for p in curve], [factor * p.value for p in curve]


def time(figure: Figure, case: Case, keys: Keys) -> bool:
    """Where the time of one seed goes, from import to the last evaluation."""
    lines = [line for line in case.lines if line.finished]
    if not lines:
        return False
    figure.set_size_inches(6, 1.35 + 0.38 * len(lines))
    axes = figure.subplots()
    for row, line in enumerate(lines):
        left = 0.0
        for colour, (name, value) in zip(GREYS, phase_seconds(case, line).items(), strict=True):
            label: dict[str, Any] = {"label": name} if row == 0 else {}
            axes.barh(row, value, 0.62, left, color=colour, edgecolor="white", lw=0.6, **label)
            left += value
    axes.set_xlabel("seconds")
    _names(axes, lines, keys)
    figure.legend(loc="outside lower center", ncols=len(PHASES), handlelength=1, columnspacing=1.2)
    return True


FIGURES: dict[str, Callable[[Figure, Case, Keys], bool]] = {
    "throughput": throughput,
    "learning": learning,
    "time": time,
}
