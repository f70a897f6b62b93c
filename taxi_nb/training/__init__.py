"""Training: fit, evaluate and log, in memory or batch by batch.

- `train`: one call fits a model, measures it on both sets, and logs all of it
- `tune`: hyperopt's TPE, each trial a nested run
- `_batches`, `pair_statistics`: the same for months beyond memory
- `_boosting_on_workers`: XGBoost on the workers of a Dask scheduler
- `logged_model`, `trained_models`: models in MLflow, and those of two sets, best first
- `used_trips`: which trips a run used, written and read here alone
- `logged_evaluation`: figures, tables and metrics in one run
"""
