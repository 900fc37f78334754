"""Programs that run the network: TensorFlow, OpenVINO, ONNX Runtime."""
