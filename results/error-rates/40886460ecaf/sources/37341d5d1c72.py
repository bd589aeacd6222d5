"""mnist-1conv in PyTorch."""

import torch
import torch.nn.functional as F
from torch import nn


class Linear(nn.Linear):
    """A dense layer by oneDNN, as convolutions are, where it is float32 on a CPU.

    PyTorch gives products of matrices to MKL, which on AMD's processors takes twice as long.
    """

    def forward(self, x):
        if x.is_cpu and x.dtype == torch.float32 and not torch.compiler.is_compiling():
            return super().forward(x.to_mkldnn()).to_dense()
        return super().forward(x)


def initialize(module):
    """Draw kernels by the uniform scheme of Glorot and Bengio (2010); biases begin at zero."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


class Model(nn.Module):
    """From images [n, 1, 28, 28] to logits [n, 10]."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3)
        self.pool1 = nn.MaxPool2d(2)
        self.dense1 = Linear(5408, 128)
        self.dropout1 = nn.Dropout(0.5)
        self.dense2 = nn.Linear(128, 10)
        self.apply(initialize)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = self.pool1(x)
        x = x.permute(0, 2, 3, 1).flatten(1)  # flatten1: rows, columns, channels
        x = F.relu(self.dense1(x))
        x = self.dropout1(x)
        x = self.dense2(x)
        return x


def loss_fn(outputs, targets):
    return F.cross_entropy(outputs, targets)  # softmax included; mean over the batch


def make_optimizer(model):
    return torch.optim.Adam(
        model.parameters(),
        lr=0.001,
        betas=(0.9, 0.999),
        eps=1e-08,
        fused=True,
    )


def train_step(model, optimizer, images, targets):
    loss = loss_fn(model(images), targets)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


def train(model, optimizer, images, targets, order, learning_rates):
    """Train on one batch of row numbers after another; return the loss of each step.

    `images` is [n, h, w, c]: seen as NCHW, it is in channels-last memory format.
    """
    model.train()
    losses = []
    for batch, learning_rate in zip(order, learning_rates):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        batch_images = images[batch].permute(0, 3, 1, 2)
        losses.append(train_step(model, optimizer, batch_images, targets[batch]))
    return torch.stack(losses)


def predict(model, images):
    """Return the logits of images [n, h, w, c], in evaluation mode."""
    model.eval()
    with torch.inference_mode():
        return model(images.permute(0, 3, 1, 2))
