"""The official evaluation protocols, their curves and reports."""
