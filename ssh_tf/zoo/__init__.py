"""Weights that have names: shipped in the package, or downloaded once and kept."""
