"""Where the figures of the README and of docs/ come from; run with `python -m benchmarks.NAME`."""
