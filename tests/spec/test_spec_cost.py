"""What a layer costs at least, beside counts by hand."""

from __future__ import annotations

import pytest

from harness.spec import (
    Cost,
    infer,
    library,
    load_spec,
    parse_spec,
    prediction_costs,
    training_costs,
    training_flops,
)

HEAD = 'name = "small"\ninput = [6, 6, 1]\n'
PLAIN = """
layers = [
  { type = "conv2d", filters = 2, kernel = 3, activation = "relu" },
  { type = "max_pool", size = 2 },
  { type = "flatten" },
  { type = "dropout", rate = 0.25 },
  { type = "dense", units = 3, bias = false },
]
"""
ADAM = '[training]\noptimizer = { type = "adam" }\n'
SGD = '[training]\noptimizer = { type = "sgd", learning_rate = 0.1 }\n'


def costs(layers: str, training: str = SGD) -> list[Cost]:
    return training_costs(parse_spec(HEAD + layers + training, "test"))


def test_every_pass_of_a_plain_network_is_counted_as_by_hand():
    conv, kernel = 2 * 16 * 9 * 2, 20  # 4x4 outputs of 9 taps, 2 filters; with a bias
    assert costs(PLAIN) == [
        Cost("conv1", conv, 36 + 32, kernel),
        Cost("conv1", conv, 36 + 32, kernel),  # the images' gradient is not needed
        Cost("conv1", 0, 0, 3 * kernel),
        Cost("pool1", 0, 32 + 8, 0),
        Cost("pool1", 0, 8 + 32, 0),
        Cost("dense1", 48, 8 + 3, 24),
        Cost("dense1", 2 * 48, 8 + 3 + 8, 2 * 24),
        Cost("dense1", 0, 0, 3 * 24),
    ]


def test_a_prediction_goes_forward_only():
    found = prediction_costs(parse_spec(HEAD + PLAIN, "test"))
    assert [(cost.path, cost.flops) for cost in found] == [
        ("conv1", 576),
        ("pool1", 0),
        ("dense1", 48),
    ]


def test_every_slot_of_the_optimizer_is_read_and_written():
    plain, adam = costs(PLAIN)[-1], costs(PLAIN, ADAM)[-1]
    assert (plain.parameters, adam.parameters) == (3 * 24, 7 * 24)


def test_a_pool_before_all_that_is_learnt_has_no_way_back():
    pooled = '[{type = "avg_pool", size = 2}, {type = "flatten"}, {type = "dense", units = 3}]'
    found = costs(f"layers = {pooled}\n")
    assert [cost for cost in found if cost.path == "pool1"] == [
        Cost("pool1", 0, 36 + 9, 0),
        Cost("pool1", 0, 0, 0),
    ]
    assert [cost.flops for cost in found if cost.path == "dense1"] == [54, 54, 0]


def test_a_norm_reads_its_input_on_the_way_back_and_is_no_operation():
    layers = """layers = [
      { type = "conv2d", filters = 2, kernel = 3 },
      { type = "batch_norm", decay = 0.9, epsilon = 1e-5 },
      { type = "global_avg_pool" }, { type = "dense", units = 3 },
    ]
    """
    forward, backward, update = (cost for cost in costs(layers) if cost.path == "bn1")
    assert forward == Cost("bn1", 0, 2 * 32, 4)
    assert backward == Cost("bn1", 0, 3 * 32, 8)
    assert update == Cost("bn1", 0, 0, 12)


def test_what_is_learnt_in_one_branch_asks_for_gradients_behind_the_block_only():
    branch = '{type = "conv2d", filters = 1, kernel = 3, padding = "same"}'
    layers = f"""layers = [
      {{ type = "concat", branches = [[{branch}], [{branch}, {branch}], []] }},
      {{ type = "conv2d", filters = 1, kernel = 6 }},
      {{ type = "flatten" }}, {{ type = "dense", units = 3 }},
    ]
    """
    found = costs(layers)
    ways_back = {}
    for path in {cost.path for cost in found}:
        forward, backward, _ = (cost.flops for cost in found if cost.path == path)
        ways_back[path] = backward / forward
    once = [path for path, times in ways_back.items() if times == 1]
    assert sorted(once) == ["block1.branch1.conv1", "block1.branch2.conv1"]
    assert all(times == 2 for path, times in ways_back.items() if path not in once)


@pytest.mark.parametrize("name", library())
def test_training_costs_three_times_the_way_forward_but_for_the_first_layers(name):
    spec = load_spec(name)
    network = infer(spec)
    assert sum(cost.flops for cost in prediction_costs(spec)) == network.flops_per_image
    first = next(node.flops for node in network.nodes if node.flops)
    assert training_flops(spec) == 3 * network.flops_per_image - first
