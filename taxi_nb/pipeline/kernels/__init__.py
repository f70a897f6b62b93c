"""Fresh kernel processes for notebooks, started in a fraction of a second.

`KernelPool` makes kernel managers of one of two kinds, with the same results:

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

Notes
-----
A forked kernel shares with its server what an interpreter or a library settles before the fork:
the hash seed and the other ``PYTHON*`` variables, the locale, memory allocators. Where a kernel
is to have another environment in these, it is spawned, with a warning in the log; see
`KernelPool`'s `env`. Warnings that a preloaded library prints while it is imported do not appear
in the notebook.
"""
