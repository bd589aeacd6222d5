"""The source of a PyTorch model and its training: module, loss, optimizer and loop."""

from __future__ import annotations

from backends.torch_blocks import write_model
from backends.torch_layers import channels_first
from harness.contract import SourceWriter
from harness.spec import Adam, AdamW, GroupNorm, LayerNorm, Network, RmsProp, Sgd, Spec, infer

CLIP = '''def clip_gradients(model):
    """Scale all gradients alike, so that the norm of them all is at most {limit}.

    nn.utils.clip_grad_norm_ would add 1e-6 to the norm.
    """
    gradients = [parameter.grad for parameter in model.parameters()]
    norm = nn.utils.get_total_norm(gradients)
    torch._foreach_mul_(gradients, {limit} / norm.clamp(min={limit}))'''

COMPILE = """# On a GPU, this mode records the kernels of a pass as a CUDA graph, and replays it.
@torch.compile(mode="reduce-overhead", dynamic=False)"""

MIXED_FORWARD = '''def forward(model, images):
    """Return the logits, in float32.

    Within, autocast has convolutions and dense layers round their weights to bfloat16.{norms}
    """
    with torch.autocast(images.device.type, torch.bfloat16):
        return model(images)'''

NORMS = """
    Layer and group norms are float32: on the CPU, the gradients of a scale and an offset
    would be sums in bfloat16."""

TRAIN = '''def train_step(model, optimizer, images, targets):
    loss = loss_fn({forward}images), targets)
    optimizer.zero_grad()
    loss.backward(){clip}
    optimizer.step()
    return loss.detach()


def train(model, optimizer, images, targets, order, learning_rates):
    """Train on one batch of row numbers after another; return the loss of each step.

    `images` is [n, {sides}, c]: seen {seen}.
    """
    model.train()
    losses = []
    for batch, learning_rate in zip(order, learning_rates):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        batch_images = images[batch].permute({first})
        losses.append(train_step(model, optimizer, batch_images, targets[batch]))
    return torch.stack(losses)


def predict(model, images):
    """Return the logits of images [n, {sides}, c], in evaluation mode."""
    model.eval()
    with torch.inference_mode():
        return {forward}images.permute({first}))'''

SIDES = {1: "t", 2: "h, w", 3: "d, h, w"}
SEEN = {
    1: "as [n, c, t], channels lie together",
    2: "as NCHW, it is in channels-last memory format",
    3: "as NCDHW, it is in channels-last memory format",
}


def torch_source(spec: Spec, variant: str, mixed: bool) -> str:
    """Write the module, the loss, the optimizer and the training loop; `mixed` with bfloat16."""
    network = infer(spec)
    write = SourceWriter()
    how = f"{', in bfloat16' if mixed else ''}{', compiled' if variant == 'compile' else ''}"
    write(f'"""{spec.name} in PyTorch{how}."""\n')
    write("import torch\nimport torch.nn.functional as F\nfrom torch import nn\n\n")
    write_model(write, spec, network, mixed)
    _write_loss(write, spec)
    _write_optimizer(write, spec, network)
    _write_train(write, spec, variant, mixed)
    return write.text()


def _write_loss(write: SourceWriter, spec: Spec) -> None:
    write("def loss_fn(outputs, targets):")
    smoothing = spec.training.label_smoothing
    match spec.training.loss:
        case "cross_entropy" if smoothing:
            write("# Softmax included; mean over the batch.", 1)
            write(f"return F.cross_entropy(outputs, targets, label_smoothing={smoothing!r})\n\n", 1)
        case "cross_entropy":
            call = "F.cross_entropy(outputs, targets)"
            write(f"return {call}  # softmax included; mean over the batch\n\n", 1)
        case "binary_cross_entropy":
            write("return F.binary_cross_entropy_with_logits(outputs, targets)\n\n", 1)
        case "huber":
            write("return F.huber_loss(outputs, targets, delta=1.0)\n\n", 1)
        case "mean_squared_error":
            write("return F.mse_loss(outputs, targets)\n\n", 1)


def _write_optimizer(write: SourceWriter, spec: Spec, network: Network) -> None:
    write("def make_optimizer(model):")
    parameters, decay = _write_decaying(write, spec, network)
    match spec.training.optimizer:
        case Sgd() as o:
            arguments = [f"momentum={o.momentum!r}"] if o.momentum else []
            arguments += ["nesterov=True"] if o.nesterov else []
            arguments += [decay] if o.l2 else []
            name, arguments = "SGD", [*arguments, "fused=True"]
        case Adam() | AdamW() as o:
            name = type(o).__name__
            arguments = [f"betas=({o.beta1!r}, {o.beta2!r})", f"eps={o.epsilon!r}"]
            arguments += [decay] if isinstance(o, AdamW) else []
            arguments += ["fused=True"]
        case RmsProp() as o:
            name, arguments = "RMSprop", [f"alpha={o.decay!r}", f"eps={o.epsilon!r}"]
            arguments += [f"momentum={o.momentum!r}"] if o.momentum else []
    write(f"return torch.optim.{name}(", 1)
    for argument in (parameters, f"lr={spec.training.optimizer.learning_rate!r}", *arguments):
        write(f"{argument},", 2)
    write(")\n\n", 1)


def _write_decaying(write: SourceWriter, spec: Spec, network: Network) -> tuple[str, str]:
    """Write which parameters decay; return the arguments for parameters and decay."""
    decay, decays_all = 0.0, True
    match spec.training.optimizer:
        case Sgd() as o:
            decay, decays_all = o.l2, o.decay_all
        case AdamW() as o:
            decay, decays_all = o.weight_decay, o.decay_all
    argument = f"weight_decay={decay!r}"
    if not decay or decays_all or all(p.role == "kernel" for p in network.parameters):
        return "model.parameters()", argument
    write("kernels = [p for p in model.parameters() if p.ndim > 1]", 1)
    write("others = [p for p in model.parameters() if p.ndim == 1]  # these do not decay", 1)
    return '[{"params": kernels}, {"params": others, "weight_decay": 0.0}]', argument


def _write_train(write: SourceWriter, spec: Spec, variant: str, mixed: bool) -> None:
    limit = spec.training.clip_norm
    if limit:
        write(CLIP.format(limit=repr(limit)) + "\n\n")
    if variant == "compile":
        write(COMPILE)
    if mixed:
        has_norms = any(isinstance(n.layer, LayerNorm | GroupNorm) for n in infer(spec).nodes)
        write(MIXED_FORWARD.format(norms=NORMS if has_norms else "") + "\n\n")
    elif variant == "compile":
        write("def forward(model, images):")
        write("return model(images)\n\n", 1)
    forward = "forward(model, " if mixed or variant == "compile" else "model("
    clip = "\n    clip_gradients(model)" if limit else ""
    axes = len(spec.input) - 1
    order = {"first": channels_first(axes), "sides": SIDES[axes], "seen": SEEN[axes]}
    write(TRAIN.format(forward=forward, clip=clip, **order))
