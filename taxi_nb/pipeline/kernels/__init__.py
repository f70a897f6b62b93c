"""Fresh kernel processes for notebooks, started in a fraction of a second.

A `KernelPool` makes kernel managers of one of two kinds, with the same results:

``spawn``
    every kernel is a new process of the running interpreter. Works everywhere.
``fork``
    every kernel is forked from one *fork server*, a process that has imported the heavy
    libraries once and no project code.

Kernels talk over Unix sockets in a directory that only their owner may enter, and every process
and file ends with its kernel.

Examples
--------
>>> from nbclient import NotebookClient
>>> with KernelPool(default_kind()) as pool:  # doctest: +SKIP
...     client = NotebookClient(notebook, km=pool.manager())
...     client.owns_km = True  # stop the kernel at the end
...     client.execute()

Other Jupyter clients use the fork server through a ``kernel.json`` that says::

    "argv": ["python", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
    "language": "python",
    "metadata": {"kernel_provisioner": {"provisioner_name": "taxi-nb-fork"}}

and papermill with ``papermill --engine taxi-nb``.

Notes
-----
What a forked kernel cannot have of its own is what an interpreter or a library settles before
the fork: the hash seed and the other ``PYTHON*`` variables, the locale, memory allocators. Where
the environment that is asked for differs in these from the server's, the kernel is spawned, with
a warning in the log; see `KernelPool`'s `env` for how to avoid it. Warnings that a preloaded
library prints while it is imported do not appear in the notebook.
"""
