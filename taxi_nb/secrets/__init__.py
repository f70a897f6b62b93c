"""Where a secret's value may go, and which guard stops it elsewhere.

A parameter names a secret as ``env:NAME``. The value stays in that environment variable; a
notebook gets it from `secret.secret`, to use it in a call. It may go nowhere else:

- a pipeline file, a parameters cell, `tracked_run`: `literals` refuses values written out there
- outputs, errors and replies of a kernel: `_kernel_messages`, and the pipeline's papermill engine
- whatever MLflow's stores and artifact repositories get: `mlflow_boundary`, which also hides
  tokens of well-known forms and what is secret in addresses
- executed notebooks and logs of a pipeline: `known.KnownSecrets.hide_in_file`
- messages to people (`pipeline.notify`): values and tokens are hidden
- source, executed cells and uncommitted changes that a run keeps: `literals.scrubbed`
- titles and comments within pictures: `_pictures`
- addresses in messages, tags and records: `addresses`, which drops passwords and signatures

`known` holds the values to look for, `references` reads ``env:NAME``. A value that is encoded,
encrypted or taken apart before it is shown is not found.
"""
