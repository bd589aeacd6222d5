"""What is trained: layers, shapes, parameters, FLOPs and the training of one CNN."""

from harness.spec.blocks import Concat, Layer, Residual, Sequence, SqueezeExcite
from harness.spec.families import Families, Family, Run, families, stage_items
from harness.spec.initial import initial_parameters, parameters_hash
from harness.spec.layers import (
    LEAKY_SLOPE,
    Activation,
    ActivationLayer,
    AvgPool,
    BatchNorm,
    ChannelScale,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    GroupNorm,
    LayerNorm,
    MaxPool,
)
from harness.spec.load import library, load_spec, parse_spec, spec_from_json
from harness.spec.model import Spec
from harness.spec.network import infer
from harness.spec.nodes import Address, Block, Network, Node, Parameter, Part, addresses
from harness.spec.training import Adam, AdamW, RmsProp, Sgd, Training

__all__ = [
    "LEAKY_SLOPE",
    "Activation",
    "ActivationLayer",
    "Adam",
    "AdamW",
    "Address",
    "AvgPool",
    "BatchNorm",
    "Block",
    "ChannelScale",
    "Concat",
    "Conv2D",
    "Dense",
    "Dropout",
    "Families",
    "Family",
    "Flatten",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "GroupNorm",
    "Layer",
    "LayerNorm",
    "MaxPool",
    "Network",
    "Node",
    "Parameter",
    "Part",
    "Residual",
    "RmsProp",
    "Run",
    "Sequence",
    "Sgd",
    "Spec",
    "SqueezeExcite",
    "Training",
    "addresses",
    "families",
    "infer",
    "initial_parameters",
    "library",
    "load_spec",
    "parameters_hash",
    "parse_spec",
    "spec_from_json",
    "stage_items",
]
