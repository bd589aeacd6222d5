"""Results for TensorBoard, MLflow and Weights & Biases, written when a run has ended."""
