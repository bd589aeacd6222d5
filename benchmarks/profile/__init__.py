"""Where the time of a training step goes, by the operations of each framework."""
