"""Tests of the documents: their examples, their pictures, their site."""
