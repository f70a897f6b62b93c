"""placeholder until merged"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, Literal

KernelKind = Literal["fork", "spawn"]


def default_kind() -> KernelKind:
    return "spawn"


class KernelPool:
    def __init__(self, kind: KernelKind, preload: Sequence[str] = ()) -> None:
        pass

    def start(self) -> None:
        pass

    def __enter__(self):
        return self

    def __exit__(self, *a):
        self.close()

    def close(self):
        pass

    def manager(self, env: Mapping[str, str] | None = None) -> Any:
        from jupyter_client import AsyncKernelManager

        d = tempfile.mkdtemp(prefix="tnb")

        class M(AsyncKernelManager):
            async def _async_start_kernel(self, **kw):
                kw["env"] = dict(env or os.environ)
                return await super()._async_start_kernel(**kw)

            start_kernel = _async_start_kernel

        return M(transport="ipc", ip=d + "/k", kernel_name="python3", connection_file=d + "/c.json")
