"""The front desk in JupyterLab.

`server` is what the Jupyter server loads: kernels get `extension` by themselves, and the pages in
``runs/`` are shown inside Lab. `extension` gives a notebook its magics, displays and completion:
`%params` and `%plan` say what a pipeline would do, `%report` shows the newest run, `%reopen` brings
a step of a run into the kernel, `%to_step` makes a pipeline's step of the notebook at hand.
Elsewhere, such as in Visual Studio Code, ``%load_ext taxi_nb`` gives the same but for the pages.
"""
