"""Converters between rollouts and the data sets of other toolboxes, in both directions.

Each format is a module of its own, `minari`, `lerobot` and `srl_zoo`, which imports what it needs when it is
called: `pip install 'srl-bench[formats]'`. What others wrote is never executed or unpickled.
"""
