"""A script: small PyTorch models as ONNX files, with inputs and what PyTorch makes of them."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


def unit(inside: int, filters: int, stride: int = 1, kernel: int = 3, groups: int = 1) -> nn.Module:
    conv = nn.Conv2d(
        inside, filters, kernel, stride, padding=kernel // 2, bias=False, groups=groups
    )
    return nn.Sequential(conv, nn.BatchNorm2d(filters))


class Residual(nn.Module):
    def __init__(self, inside: int, filters: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(unit(inside, filters, stride), nn.ReLU(), unit(filters, filters))
        projects = stride > 1 or inside != filters
        self.shortcut = unit(inside, filters, stride, 1) if projects else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x) + self.body(x))


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int, units: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, units, 1)
        self.expand = nn.Conv2d(units, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = F.silu(self.reduce(F.adaptive_avg_pool2d(x, 1)))
        return x * torch.sigmoid(self.expand(gate))


class Inverted(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            unit(channels, 2 * channels, kernel=1),
            nn.Hardswish(),
            unit(2 * channels, 2 * channels, groups=2 * channels),
            nn.SiLU(),
            SqueezeExcite(2 * channels, 3),
            unit(2 * channels, channels, kernel=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Dense(nn.Module):
    """Features gathered in a list, each layer's from all before."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(channels + 2 * i, 2, 3, padding=1) for i in range(3))

    def forward(self, x: Tensor) -> Tensor:
        found = [x]
        for layer in self.layers:
            found.append(F.elu(layer(torch.cat(found, 1))))
        return torch.cat(found, 1)


class Next(nn.Module):
    """As ConvNeXt: permuted for its norm and dense layers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.wide, self.narrow = nn.Linear(channels, 12), nn.Linear(12, channels)
        self.scale = nn.Parameter(torch.rand(channels))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x).permute(0, 2, 3, 1))
        y = self.scale * self.narrow(F.gelu(self.wide(y)))
        return x + y.permute(0, 3, 1, 2)


class View(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.view(x.size(0), -1)


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


MODELS = {
    "residual": lambda: nn.Sequential(
        unit(3, 6),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
        Residual(6, 6, 1),
        Residual(6, 8, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    ),
    "inverted": lambda: nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU6(), Inverted(6), Inverted(6), Mean(), nn.Linear(6, 4)
    ),
    "plain": lambda: nn.Sequential(
        nn.Conv2d(3, 4, (3, 2), dilation=(1, 2)),
        nn.Tanh(),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.GroupNorm(2, 4),
        nn.AvgPool2d(2, 1, count_include_pad=False),
        nn.ZeroPad2d((1, 0, 2, 0)),
        nn.Conv2d(4, 5, 3),
        nn.LeakyReLU(0.01),
        View(),
        nn.Dropout(0.3),
        nn.BatchNorm1d(5 * 4 * 3),
        nn.Linear(5 * 4 * 3, 7),
        nn.GELU(),
        nn.Linear(7, 3),
        nn.Softmax(1),
    ),
    "dense": lambda: nn.Sequential(
        Dense(3), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(9, 2)
    ),
    "signal": lambda: nn.Sequential(
        nn.Conv1d(3, 6, 5, stride=2, padding=2, bias=False),
        nn.BatchNorm1d(6),
        nn.ReLU(),
        nn.MaxPool1d(3, 2, padding=1),
        nn.ConstantPad1d((2, 0), 0.0),
        nn.Conv1d(6, 4, 3, groups=2, dilation=2),
        nn.GroupNorm(2, 4),
        nn.AvgPool1d(2, count_include_pad=False),
        nn.Flatten(),
        nn.Linear(4 * 5, 3),
    ),
    "volume": lambda: nn.Sequential(
        nn.Conv3d(3, 4, (3, 2, 3), stride=(1, 2, 1), padding=(1, 0, 1)),
        nn.BatchNorm3d(4),
        nn.SiLU(),
        nn.MaxPool3d((1, 2, 2), ceil_mode=True),
        nn.Conv3d(4, 5, 1),
        nn.AvgPool3d(2, stride=1),
        nn.AdaptiveAvgPool3d(1),
        nn.Flatten(),
        nn.Linear(5, 3),
    ),
    "upsampled": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1),
        nn.ReLU(),
        nn.ConvTranspose2d(4, 5, 3, 2, padding=1, output_padding=1),
        nn.ConvTranspose2d(5, 3, (4, 2), 2, padding=(1, 0), bias=False),
        nn.Tanh(),
        nn.ConvTranspose2d(3, 2, 2),
        nn.Flatten(),
        nn.Linear(2 * 25 * 25, 3),
    ),
    "next": lambda: nn.Sequential(
        nn.Conv2d(3, 6, 4, 4), Next(6), Next(6), nn.Flatten(), nn.Linear(54, 4)
    ),
}


SHAPES = {"signal": (3, 51), "volume": (3, 5, 8, 7)}  # of other than images


def main(folder: Path) -> None:
    torch.manual_seed(0)
    for name, make in MODELS.items():
        model = make()
        shape = SHAPES.get(name, (3, 12, 12))
        x = torch.rand(4, *shape)
        for _ in range(3):  # gives batch norms statistics of their own
            model(torch.rand(8, *shape))
        model.eval()
        with torch.no_grad():
            np.savez(folder / f"{name}.npz", x=x.numpy(), y=model(x).numpy())
        for version in (13, 17, 20):
            path = folder / f"{name}-{version}.onnx"
            torch.onnx.export(
                model,
                (x,),
                str(path),
                dynamo=False,
                opset_version=version,
                input_names=["x"],
                dynamic_axes={"x": {0: "n"}},
                do_constant_folding=version != 17,
                training=(
                    torch.onnx.TrainingMode.PRESERVE
                    if version == 20
                    else torch.onnx.TrainingMode.EVAL
                ),
            )


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(Path(sys.argv[1]))
