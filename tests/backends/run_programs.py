"""Run programs in one process, each as if it were alone: python run_programs.py COMMAND ...

A command is a program and its arguments, separated by blanks.
"""

from __future__ import annotations

import runpy
import sys

for command in sys.argv[1:]:
    arguments = command.split(" ")
    sys.argv = arguments
    print(f"== {arguments[0]}", flush=True)
    runpy.run_path(arguments[0], run_name="__main__")
