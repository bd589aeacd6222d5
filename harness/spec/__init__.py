"""What is trained: layers, shapes, parameters, FLOPs and the training of one CNN."""

from harness.spec.initial import initial_parameters, parameters_hash
from harness.spec.layers import (
    Activation,
    ActivationLayer,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MaxPool,
)
from harness.spec.load import library, load_spec, parse_spec, spec_from_json
from harness.spec.model import Adam, Sgd, Spec, Training
from harness.spec.network import Network, Node, Parameter, infer

__all__ = [
    "Activation",
    "ActivationLayer",
    "Adam",
    "Conv2D",
    "Dense",
    "Dropout",
    "Flatten",
    "Layer",
    "MaxPool",
    "Network",
    "Node",
    "Parameter",
    "Sgd",
    "Spec",
    "Training",
    "infer",
    "initial_parameters",
    "library",
    "load_spec",
    "parameters_hash",
    "parse_spec",
    "spec_from_json",
]
