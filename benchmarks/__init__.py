"""Where the figures of the README come from; run with `python -m benchmarks.NAME`."""
