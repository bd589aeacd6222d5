"""Statistics: what may be said of measurements, and with which error rate."""
