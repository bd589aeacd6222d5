"""Train one CNN in several frameworks, prove that it is the same network, and time it."""

__version__ = "0.1.0"
