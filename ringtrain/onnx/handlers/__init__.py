"""The handlers of ONNX operators, one file a family."""
