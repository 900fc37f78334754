"""From a model and an image to boxes and pictures."""
