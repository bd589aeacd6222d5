"""Backends whose framework cannot be imported."""

from __future__ import annotations

import os
import sys
from typing import ClassVar


class BrokenImport:
    name = "broken"
    variants: ClassVar = {"": ()}
    in_all = True

    def prepare(self, variant, setting):
        raise ImportError("libfast.so.7: cannot open shared object file")


class CrashingImport(BrokenImport):
    name = "crashing"

    def prepare(self, variant, setting):
        print("illegal instruction, says the framework", file=sys.stderr, flush=True)
        os._exit(7)
