"""Fuzzing: mutated real files through everything in the package that reads.

``make fuzz`` runs all of it, `tests/test_fuzz.py` a little of each target in every test run.
"""
