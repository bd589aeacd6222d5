"""What each framework's tuning guide advises, measured beside what its backend does."""
