"""PyTorch: an eager loop with `zero_grad`, `backward` and `step`, images in NCHW."""

import torch
from torch import nn


def mnist_1conv():
    return nn.Sequential(
        nn.Conv2d(1, 32, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 13 * 13, 128),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(128, 10),
    )


def mnist_2conv():
    return nn.Sequential(
        nn.Conv2d(1, 32, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 7 * 7, 1024),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(1024, 10),
    )


class ResidualBlock(nn.Module):
    def __init__(self, channels, filters, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, filters, 1, stride, bias=False), nn.BatchNorm2d(filters)
            )

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


def resnet_20():
    blocks, channels = [], 16
    for filters in (16, 32, 64):
        for block in range(3):
            blocks.append(ResidualBlock(channels, filters, 2 if filters > 16 and not block else 1))
            channels = filters
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        *blocks,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


MODELS = {"mnist-1conv": mnist_1conv, "mnist-2conv": mnist_2conv, "resnet-20": resnet_20}


class Training:
    def __init__(self, model, images, labels):
        self.model = MODELS[model]()
        parameters = self.model.parameters()
        if model == "resnet-20":
            self.optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9)
        else:
            self.optimizer = torch.optim.Adam(parameters)
        self.loss = nn.CrossEntropyLoss()
        # In memory as tensors already: a DataLoader, which tutorials use, takes longer.
        self.images = torch.tensor(images).permute(0, 3, 1, 2).contiguous()
        self.labels = torch.tensor(labels, dtype=torch.int64)

    def train(self, batches):
        self.model.train()
        for batch in torch.tensor(batches):
            outputs = self.model(self.images[batch])
            loss = self.loss(outputs, self.labels[batch])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return loss.item()


start = Training
