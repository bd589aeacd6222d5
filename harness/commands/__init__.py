"""Commands of the command line, each in a module of its own: parse and delegate, no logic."""
