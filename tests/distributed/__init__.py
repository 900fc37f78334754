"""Tests of the work on many machines."""
