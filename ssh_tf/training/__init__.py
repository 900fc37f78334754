"""The training loop, its optimizer and what it reports."""
