"""Numbers about predictions.

- `metrics`: RMSE, MAE, R2, errors by slice, and a rule of thumb to beat
- `slices`: hour, distance, borough
- `intervals`: how sure a prediction is, by split conformal prediction
- `drift`: how far a month is from what a model learned on
"""
