"""The frameworks: one module each, imported only in a worker process of its own."""
