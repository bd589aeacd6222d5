"""How often `harness ab` errs, and how often other tools' rules would, on real workers.

A *series* is one comparison from end to end: fresh pairs of processes, by the very code of `harness
ab`, until its rules have decided. Side A always runs a backend's own source; side B runs the file
that the schedule names, which is the same source, or one whose training step does some more
arithmetic. The file's name says nothing of which; that is in `sealed.csv`, which is read for the
table only.
"""
