"""End-to-end optimisation of particle-physics analyses."""

__version__ = "0.1.0"
