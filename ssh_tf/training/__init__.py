"""The training loop, its optimiser and what it reports."""
