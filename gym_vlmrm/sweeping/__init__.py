"""Many trainings as one experiment. Each file builds on those above it:

* `plan`: the file that says what is varied, and the trainings that this means.
* `trial`: one of them, in a process of its own: begun, gone on with, or stopped early.
* `sweep`: all of them on a Ray cluster by Ray Tune, and what came of them.
"""
