"""Training step, prediction and first step of each backend, for pytest-benchmark.

    pytest benchmarks --benchmark-only
    pytest benchmarks --benchmark-only --harness-model resnet-20 --harness-backend torch,flax
    pytest benchmarks --benchmark-only --benchmark-autosave
    pytest benchmarks --benchmark-only --benchmark-compare --benchmark-compare-fail=median:10%

Each test has a worker of its own, and is timed by the worker's clock.
"""

from __future__ import annotations

FIRST_STEPS = 5  # each in a fresh process


def test_train_step(benchmark, harness_backend, harness_model):
    benchmark(harness_backend.open(harness_model).train_step)


def test_predict(benchmark, harness_backend, harness_model):
    benchmark(harness_backend.open(harness_model).predict)


def test_compile(benchmark, harness_backend, harness_model):
    benchmark.pedantic(harness_backend.open(harness_model).first_step, rounds=FIRST_STEPS)
