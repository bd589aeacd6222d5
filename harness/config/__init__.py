"""A project's own file: a matrix of runs, and gates for what compares them."""
