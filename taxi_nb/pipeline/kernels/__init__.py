"""Fresh kernel processes for notebooks, started in a fraction of a second.

`pool.KernelPool` makes managers of kernels of one of two kinds, with the same results:

- ``spawn``: every kernel is a new process of the running interpreter. Works everywhere.
- ``fork``: every kernel is forked from one *fork server*, a process that has imported the heavy
  libraries once and no project code.

Kernels talk over Unix sockets in a directory that only their owner may enter, and every process
and file ends with its kernel.

A forked kernel shares with its server what an interpreter or a library settles before the fork:
the hash seed and the other ``PYTHON*`` variables, the locale, memory allocators. Where it is to
have another environment in these, it is spawned, with a warning in the log. Warnings that a
preloaded library prints while it is imported do not appear in the notebook.
"""
