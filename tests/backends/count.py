"""What a framework itself counts, of models built from their generated sources.

Usage: `python count.py BACKEND MODEL...`; prints a JSON object, `{model: {"parameters": n}}`; of
torch, also the operations that its own counter finds in one forward pass over one image.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from pathlib import Path

from harness.contract import Setting, import_source
from harness.registry import describe, load_backend
from harness.spec import load_spec


def torch_counts(module, spec):
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        model = module.Model().eval()
        *sides, channels = spec.input
        image = torch.empty(1, channels, *sides)
    with FlopCounterMode(display=False) as counter:
        model(image)
    return {
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "flops": counter.get_total_flops(),
    }


def flax_counts(module, spec):
    import jax
    from flax import nnx

    model = nnx.eval_shape(lambda: module.Model(rngs=nnx.Rngs(0)))
    leaves = jax.tree.leaves(nnx.state(model, nnx.Param))
    return {"parameters": sum(math.prod(leaf.shape) for leaf in leaves)}


def keras_counts(module, spec):
    model = module.make_model()
    return {"parameters": sum(math.prod(w.shape) for w in model.trainable_weights)}


def tensorflow_counts(module, spec):
    model = module.Model()
    return {"parameters": sum(math.prod(v.shape) for v in model.trainable_variables)}


def main(name: str, models: list[str]) -> None:
    (info,) = [info for info in describe() if info.label == name]
    backend = load_backend(info.target)
    backend.prepare("", Setting())
    counts = {}
    with tempfile.TemporaryDirectory() as folder:
        for model in models:
            spec = load_spec(model)
            path = Path(folder) / f"{model}_{name}.py"
            path.write_text(backend.source(spec, ""))
            counts[model] = globals()[f"{name}_counts"](import_source(path), spec)
    print(json.dumps(counts))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
