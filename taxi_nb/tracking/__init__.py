"""MLflow's conventions and stores, for notebooks of any kind.

- `run`: `tracked_run`, the run that a block of code is logged to
- `contents`: parameters, figures, tables and files that are logged to a run
- `store`, `experiments`: which store and experiment; `_reaching`, `store_errors`: whether it works
- `other_store`: another one for a while; `model_files`, `model_notes`: a registered model's
- `pipeline_runs`, `_lifecycle`: the runs that a pipeline opens, owns and closes
- `context`, `origin`, `git`, `environment`, `measuring`: a run's code, machine, time and memory
- `upstream`, `run_tree`, `stored_runs`, `outcomes`, `project_run`: runs that others made
- `judgements`: what checks of data found
- `inputs`: how loaders report their inputs; `names`: tags, variables and artifacts
"""
