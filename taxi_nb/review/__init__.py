"""Answers to a reviewer: what made this number, and is it the same again?

- `trace`: from a model, a run or a notebook back to all that made it
- `verify`: executes a recorded run again, elsewhere, and compares
"""
