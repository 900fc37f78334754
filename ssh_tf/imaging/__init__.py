"""Pixels: files to pixels, headers, the official resize, drawing."""
