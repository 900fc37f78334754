"""Weights of the official Caffe code."""
