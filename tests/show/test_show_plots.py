"""Figures as files: which there are, what is in them, what is said where they cannot be made."""

from __future__ import annotations

import re
import sys

import pytest
from show_results import HOSTILE, write_results

from harness.errors import UsageError
from harness.show import plots
from harness.show.gather import read_run
from harness.show.page.keys import OKABE_ITO, Keys

pytest.importorskip("matplotlib", reason="matplotlib is not installed")
NAMES = ("throughput", "learning", "time")


def drawn(name, case):
    """Draw a figure, and return its axes."""
    keys = Keys(case.lines)
    with plots._figure("title") as figure:
        assert plots.FIGURES[name](figure, case, keys)
        figure.draw_without_rendering()
    return figure.axes


@pytest.fixture
def case(tmp_path):
    (found,) = read_run(write_results(tmp_path / "run", seeds=2)).cases
    return found


def test_there_is_a_png_and_an_svg_of_each_figure(tmp_path):
    folder = write_results(tmp_path / "run")
    written, problems = plots.plot([folder], tmp_path / "new" / "figures")
    assert problems == []
    assert {path.name for path in written} == {f"{n}.{form}" for n in NAMES for form in plots.FORMS}
    for path in written:
        head = path.read_bytes()[:8]
        assert head == b"\x89PNG\r\n\x1a\n" if path.suffix == ".png" else head.startswith(b"<?xml")


def test_figures_of_several_results_have_names_of_their_own(tmp_path):
    for number, model in enumerate(["mnist-1conv", "mnist-1conv", "mnist-2conv"]):
        write_results(tmp_path / str(number), model=model)
    written, _ = plots.plot([tmp_path], tmp_path / "figures")
    assert len({path.name for path in written}) == len(written) == 3 * 6


def test_the_same_results_make_the_same_svg(tmp_path):
    folder = write_results(tmp_path / "run")
    texts = []
    for name in ("a", "b"):
        plots.plot([folder], tmp_path / name)
        texts.append([(tmp_path / name / f"{n}.svg").read_bytes() for n in NAMES])
    assert texts[0] == texts[1]


def test_bars_and_whiskers_are_the_figures_of_the_summary(case):
    (axes,) = drawn("throughput", case)
    assert [bar.get_width() for bar in axes.patches] == [2000.0, 1000.0]
    (whisker, _) = [c.get_segments()[0] for c in axes.collections]
    assert whisker[:, 0].tolist() == pytest.approx([1960.0, 2040.0])
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["tensorflow", "torch"]


def test_a_backend_that_differs_is_hatched_and_said_to_be_another_network(tmp_path):
    wrong = {"torch": {"equivalent": False}}
    (case,) = read_run(write_results(tmp_path / "run", changes=wrong)).cases
    (axes,) = drawn("throughput", case)
    assert [bool(bar.get_hatch()) for bar in axes.patches] == [False, True]
    assert axes.texts[1].get_text() == "  1,000, another network"


def test_curves_are_thin_for_seeds_and_thick_for_their_mean(case):
    accuracy = drawn("learning", case)[0]
    lines = [line for line in accuracy.lines if line.get_color() == OKABE_ITO[3]]
    *seeds, average = lines
    assert len(seeds) == 2
    assert all(seed.get_linewidth() < average.get_linewidth() for seed in seeds)
    expected = [sum(pair) / 2 for pair in zip(*(s.get_ydata() for s in seeds), strict=True)]
    assert average.get_ydata() == pytest.approx(expected)
    assert list(average.get_xdata()) == [1, 2, 3]


def test_the_second_row_is_over_seconds_of_training(case):
    axes = drawn("learning", case)
    assert axes[0].get_xlabel() == "epochs"
    assert axes[3].get_xlabel() == "seconds of training"
    torch = next(line for line in case.lines if line.backend == "torch")
    whole = sum(block["seconds"] for block in torch.blocks) / 2
    (average,) = [line for line in axes[3].lines if line.get_label() == "torch"]
    assert average.get_xdata()[-1] == pytest.approx(whole)


def test_stacks_reach_to_the_sum_of_the_phases(case):
    (axes,) = drawn("time", case)
    ends = {bar.get_y(): bar.get_x() + bar.get_width() for bar in axes.patches}
    start = 1.5 + 0.25 + 0.75 + 0.5
    evaluation, images = 3 * 0.5, 3 * 8 * 4 * 100
    assert sorted(ends.values()) == pytest.approx(
        [start + evaluation + images / speed for speed in (2000, 1000)]
    )


def test_names_are_no_formulas(tmp_path):
    name = r"$\frac{1}{$" + HOSTILE
    changes = {n: {"model": name, "variant": name} for n in ("torch", "tensorflow")}
    written, _ = plots.plot([write_results(tmp_path / "run", changes=changes)], tmp_path / "out")
    text = next(path for path in written if path.name == "throughput.svg").read_text()
    assert not re.search(r"<img|</script>", text)
    assert r"$\frac{1}{$" in text


def test_failed_rows_and_missing_samples_leave_out_what_they_lack(tmp_path):
    folder = write_results(tmp_path / "run", changes={"torch": {"status": "crashed"}})
    (folder / "samples.csv").unlink()
    written, _ = plots.plot([folder], tmp_path / "out")
    assert {path.stem for path in written} == {"throughput", "time"}


def test_without_matplotlib_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"pip install 'cnn-harness\[plots\]'"):
        plots.plot([write_results(tmp_path / "run")], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_to_is_named(tmp_path):
    folder = write_results(tmp_path / "run")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot write figures to"):
        plots.plot([folder], tmp_path / "file")


def test_importing_the_plots_loads_no_matplotlib():
    import subprocess

    script = "import sys, harness.show.plots; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
