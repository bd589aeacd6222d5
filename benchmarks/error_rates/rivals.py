"""What other tools' rules would say of the same samples; written anew from their documentation.

Each takes the seconds of a step in either side's blocks, and says `slower`, `faster` or `same` of
the second side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean, median

from scipy.stats import mannwhitneyu, ttest_ind

Rival = Callable[[Sequence[float], Sequence[float]], str]
ASV_FACTOR, ASV_P = 1.1, 0.002
PYTEST_PERCENT = 5.0
PYPERF_P = 0.05


def asv(old: Sequence[float], new: Sequence[float]) -> str:
    """Judge like `asv continuous`: the medians differ by the factor 1.1, and so do the samples.

    Whether samples differ is Mann and Whitney's U test at p < .002: airspeed velocity, "Comparing
    the benchmarks between two revisions" in its manual, and `is_different` in asv/statistics.py.
    """
    if not mannwhitneyu(old, new).pvalue < ASV_P:
        return "same"
    if median(new) > ASV_FACTOR * median(old):
        return "slower"
    return "faster" if median(old) > ASV_FACTOR * median(new) else "same"


def pytest_benchmark(old: Sequence[float], new: Sequence[float]) -> str:
    """Judge like `pytest --benchmark-compare-fail=mean:5%`, which knows no "faster".

    It fails where the mean has grown by more than so many percent: pytest-benchmark, "Comparing
    past runs" in its manual, and `PercentageRegressionCheck` in pytest_benchmark/utils.py.
    """
    return "slower" if 100 * (fmean(new) / fmean(old) - 1) > PYTEST_PERCENT else "same"


def pyperf(old: Sequence[float], new: Sequence[float]) -> str:
    """Judge like `pyperf compare_to`: slower or faster by the means, if that is significant.

    Student's two-sample, two-tailed t-test at 95 %, however small the change: pyperf, "compare_to"
    in its manual, and `is_significant` in pyperf/_utils.py.
    """
    if not ttest_ind(old, new).pvalue < PYPERF_P:
        return "same"
    return "slower" if fmean(new) > fmean(old) else "faster"


RIVALS: dict[str, Rival] = {
    "asv": asv,
    "pytest-benchmark mean:5%": pytest_benchmark,
    "pyperf": pyperf,
}
