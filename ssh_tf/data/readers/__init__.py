"""Annotation files of every format, read into the same entries. No TensorFlow here."""
