"""Adds configs/ to the package as `ssh_tf/configs`; all metadata is in pyproject.toml."""

from setuptools import find_packages, setup

# The top-level folder stays the one place where they are edited. An installed package has a copy.
CONFIGS = {"ssh_tf.configs": "configs", "ssh_tf.configs.ablations": "configs/ablations"}

setup(packages=[*find_packages(include=["ssh_tf*"]), *CONFIGS], package_dir=CONFIGS)
