"""MLflow's conventions and stores, for notebooks of any kind.

- `run`: `tracked_run`, the run that a block of code is logged to
- `contents`: what is logged to a run: parameters, figures, tables, files
- `store`, `stores`, `stored_runs`: which store, how it is reached, which runs it has
- `pipeline_runs`, `lifecycle`: the runs that a pipeline opens, owns and closes
- `context`, `origin`, `git`, `environment`, `measuring`: where a run comes from, what it took
- `upstream`, `run_tree`, `project_run`: runs that others made
- `inputs`: how loaders say what they read; `names`: tags, variables and artifacts
"""
