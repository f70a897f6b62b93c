"""Pipelines as the files of engines that exist: a Prefect flow, a Kubeflow pipeline.

What an engine runs are processes that call `taxi-nb open`, `step` and `close`: it coordinates,
and what a step is, what it may use again and what it leaves stays as in `taxi-nb run`. The files
need nothing of this project but its command line, and writing them needs no engine.

- `outline`: what every engine has to know of a pipeline; what a file is written over
- `prefect`: a flow to read, run and deploy: a pipeline's steps, or `taxi-nb monthly`
- `kubeflow`: the pipeline in KFP's own form
"""
