"""The equivalence ladder: whether backends compute the same network, and where they part."""
