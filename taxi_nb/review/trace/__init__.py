"""Leads a model, a run or a notebook back to all that made it; see `chain.trace`."""
