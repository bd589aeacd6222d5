"""The model that the tests of a run train."""

MODEL = """
name = "small"
input = [6, 6, 1]
layers = [
  { type = "conv2d", filters = 2, kernel = 3, activation = "relu" },
  { type = "max_pool", size = 2 },
  { type = "flatten" },
  { type = "dropout", rate = 0.25 },
  { type = "dense", units = 3, activation = "softmax" },
]
[training]
epochs = 3
batch_size = 8
"""
