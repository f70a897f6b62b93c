"""Numbers about predictions: how good they are, how sure, and whether months have changed.

- `metrics`, `errors`, `slices`: errors, in batches too; within slices; a rule of thumb to beat
- `intervals`: conformal intervals by hour of the day
- `_distribution`, `drift`: how far a month is from what a model learned on
- `clock`: hours and weekdays
"""
