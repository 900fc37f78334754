"""Programs that run the network: TensorFlow, OpenVINO, ONNX Runtime, LiteRT."""

# `auto` stands for the fastest that is installed.
RUNTIMES = ("auto", "tensorflow", "openvino", "onnxruntime", "litert")
