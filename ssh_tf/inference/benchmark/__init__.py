"""How fast detectors are on this machine: ours in every runtime and precision, and public ones."""
