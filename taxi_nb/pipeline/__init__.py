"""Runs notebooks in a fixed order, each in a fresh kernel. It knows nothing about taxis.

- `spec`: a pipeline file, checked; `parameters`: what a notebook declares
- `plan`: which steps have to run, and why; `inputs`, `_results`: what a step used and left
- `run`, `_step_run`, `_execute`: carries a plan out, a step, a notebook
- `record`: ``run.json``; `report`: the pages of a run
- `notify`: telling people how a run ended
- `kernels`: fresh processes, forked or spawned
"""
