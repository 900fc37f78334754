"""The local server: TensorFlow Serving's REST and gRPC for development and tests."""
