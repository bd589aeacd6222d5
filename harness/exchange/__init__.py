"""Networks to and from other tools' files: ONNX out and in, Keras in; no framework is needed."""
