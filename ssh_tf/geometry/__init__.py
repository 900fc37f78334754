"""Boxes, anchors, targets, proposals: pure functions on `keras.ops`, no weights and no files."""
