"""Programs that run the network: TensorFlow, OpenVINO, ONNX Runtime."""

# `auto` stands for the fastest that is installed.
RUNTIMES = ("auto", "tensorflow", "openvino", "onnxruntime")
