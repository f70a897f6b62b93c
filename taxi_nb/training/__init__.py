"""Training: fit, evaluate and log, in memory or batch by batch.

- `train`: one call fits a model, measures it on both sets, and logs all of it
- `tune`: hyperopt's TPE, each trial a nested run
- `batches`, `pair_statistics`: the same for months beyond memory
- `used_trips`: which trips a run used, written and read here alone
"""
