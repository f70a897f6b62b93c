"""Leads a model, a run or a notebook back to all that made it."""

from taxi_nb.pipeline.trace.chain import Node, Trace, TraceError, trace

__all__ = ["Node", "Trace", "TraceError", "trace"]
