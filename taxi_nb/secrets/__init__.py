"""Where a secret's value may go, and what stops it everywhere else.

A parameter names a secret as ``env:NAME``. Its value is handed out by `values.secret` alone.

- `values`: ``env:NAME`` and its value; texts, files and a kernel's messages without it
- `mlflow_client`: runs without it, whichever call of MLflow's client would write them
- `literals`: secrets that are written out: refused in parameters, replaced in what is kept
- `addresses`: addresses and messages without passwords and signatures
"""
