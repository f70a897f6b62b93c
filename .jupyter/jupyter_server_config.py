"""What `make lab` sets for the server: kernels that no other user of this machine can listen to."""

import os

from jupyter_core.paths import jupyter_runtime_dir

# A kernel's output goes to whoever connects to its port; a socket in Jupyter's own folder only
# its owner can open. Its path has 107 bytes at most, of which the kernel's name takes 60.
if os.name == "posix" and len(os.fsencode(jupyter_runtime_dir())) <= 47:
    c.KernelManager.transport = "ipc"  # noqa: F821 - Jupyter gives the name
