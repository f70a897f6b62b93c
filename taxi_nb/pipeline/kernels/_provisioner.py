"""Jupyter's view of the two kinds of kernels: provisioners, and a manager that uses them."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import queue
import shutil
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import traitlets
import zmq
import zmq.asyncio
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from taxi_nb.pipeline.kernels._client import ForkFailedError, ForkServer
from taxi_nb.pipeline.kernels.processes import ForkedProcess, KernelProcess, SpawnedProcess

logger = logging.getLogger(__name__)

Message = dict[str, Any]

KILL_TIMEOUT_SECONDS = 5.0

# How long to wait for the answers of a starting kernel before asking again.
SHELL_SECONDS = 1.0
IOPUB_SECONDS = 0.2
RECONNECT_MILLISECONDS = 10

# Stands for ipykernel's launcher, and ends when it is asked to.
_KERNEL = Path(__file__).with_name("_kernel_process.py")

# How often to look for the end of a kernel that was told to end.
POLL_SECONDS = 0.01


class SpawnProvisioner(LocalProvisioner):
    """Starts every kernel as a new process and leaves nothing behind when it ends."""

    directory: Path
    on_cleanup: Callable[[SpawnProvisioner], None]
    _latest: Any = None

    @property
    def returncode(self) -> int | None:
        """How the latest kernel ended: its exit status, ``-N`` if signal N ended it."""
        return getattr(self._latest, "returncode", None)

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        info = await super().launch_kernel([cmd[0], str(_KERNEL), *cmd[1:]], **kwargs)
        assert self.process is not None
        self._watch(SpawnedProcess(self.process) if hasattr(os, "waitid") else self.process)
        return info

    async def kill(self, restart: bool = False) -> None:
        """Kill the kernel; the rest of its group follows when it has had time to clean up."""
        if isinstance(self.process, KernelProcess):
            self.process.kill()
        else:
            await super().kill(restart=restart)

    def kill_now(self) -> None:
        """Kill the kernel with its process group and wait for its end, without an event loop."""
        if self.process is not None:
            self.process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(KILL_TIMEOUT_SECONDS)

    async def cleanup(self, restart: bool = False) -> None:
        """Kill what is left of the kernel and remove its files, unless it starts again."""
        self.kill_now()
        await super().cleanup(restart=restart)
        if not restart:
            shutil.rmtree(self.directory, ignore_errors=True)
            self.on_cleanup(self)

    def _watch(self, process: KernelProcess | subprocess.Popen[bytes]) -> None:
        self.process = process  # type: ignore[assignment]  # a `Popen` in all that matters
        self._latest = process


class ForkProvisioner(SpawnProvisioner):
    """Has a server fork the kernels; spawns those that cannot be forked, and logs why."""

    server: ForkServer

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Fork a kernel where `cmd` would start one; FileNotFoundError if `cwd` is missing."""
        try:
            process = await self._fork(cmd, **kwargs)
        except ForkFailedError as error:
            logger.warning("spawning the kernel instead of forking it: %s", error)
            return await super().launch_kernel(cmd, **kwargs)
        self._watch(process)
        self.pid = self.pgid = process.pid
        self.cwd = kwargs.get("cwd") or os.getcwd()
        return self.connection_info

    async def _fork(self, cmd: list[str], **kwargs: Any) -> ForkedProcess:
        if unfit := self.server.unfit_variables(kwargs["env"]):
            raise ForkFailedError(
                f"the fork server was started with other values of {', '.join(unfit)}, "
                "which are read only once"
            )
        cwd = os.path.abspath(kwargs.get("cwd") or os.getcwd())
        if not os.path.isdir(cwd):
            raise FileNotFoundError(2, os.strerror(2), cwd)
        with contextlib.ExitStack() as stack:
            stdout = _descriptor(kwargs.get("stdout"), 1, stack)
            stderr = _descriptor(kwargs.get("stderr"), 2, stack)
            return await self.server.fork(cmd, kwargs["env"], cwd, stdout, stderr)


def _descriptor(output: Any, own: int, stack: contextlib.ExitStack) -> int:
    """Return the descriptor of an open file, or without one this process's own, if it is open."""
    if output is not None:
        return int(output.fileno())
    try:
        os.fstat(own)
    except OSError:
        return stack.enter_context(open(os.devnull, "wb")).fileno()
    return own


class PoolKernelClient(AsyncKernelClient):
    """Connects to a kernel as soon as it listens, and tells its manager when it is ready."""

    @traitlets.default("context")
    def _impatient_context(self) -> zmq.asyncio.Context:
        self._created_context = True
        context = zmq.asyncio.Context()
        # A kernel makes its sockets well within the default interval of 100 ms.
        context.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MILLISECONDS)
        return context

    async def _async_wait_for_ready(self, timeout: float | None = None) -> None:
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while not await self._kernel_answers():
            if not await self.is_alive():
                raise RuntimeError("Kernel died before replying to kernel_info")
            if time.monotonic() > deadline:
                raise RuntimeError(f"Kernel didn't respond in {timeout} seconds")
        if isinstance(self.parent, PoolKernelManager):
            self.parent.kernel_ready_seconds = time.monotonic() - self.parent.started

    wait_for_ready = _async_wait_for_ready

    async def _kernel_answers(self) -> bool:
        """Ask who the kernel is: it is ready once the answer has come on both channels.

        The general client waits for 0.2 s of silence instead, longer than a fork takes.
        """
        request = self.kernel_info()

        def is_reply(message: Message) -> bool:
            return bool(message["msg_type"] == "kernel_info_reply")

        def is_idle(message: Message) -> bool:
            answers = message["parent_header"].get("msg_id") == request
            return answers and message["content"].get("execution_state") == "idle"

        try:
            reply = await _first(self.get_shell_msg, SHELL_SECONDS, is_reply)
            await _first(self.get_iopub_msg, IOPUB_SECONDS, is_idle)
        except queue.Empty:
            return False
        self._handle_kernel_info_reply(reply)
        return True


async def _first(
    receive: Callable[..., Awaitable[Message]], timeout: float, is_wanted: Callable[[Message], bool]
) -> Message:
    while not is_wanted(message := await receive(timeout=timeout)):
        pass
    return message


class PoolKernelManager(AsyncKernelManager):
    """Manages one kernel of the running interpreter over Unix sockets in a private directory."""

    client_factory = traitlets.Type(klass=PoolKernelClient, default_value=PoolKernelClient)

    def __init__(
        self,
        make_provisioner: Callable[[PoolKernelManager], SpawnProvisioner],
        env: Mapping[str, str] | None,
    ) -> None:
        super().__init__()
        # Half of it is left to a kernel that was asked to end; Jupyter's 5 s are too few on a busy
        # machine, and what a notebook does at its exit would be cut off.
        self.shutdown_wait_time = 20.0
        self._make_provisioner = make_provisioner
        self._env = env
        self.started = 0.0
        # From the start to the first reply of the latest kernel.
        self.kernel_ready_seconds: float | None = None
        # Unix sockets do not work with libzmq on Windows.
        self.transport = "ipc" if os.name == "posix" else "tcp"

    @property
    def kernel_spec(self) -> KernelSpec:
        """How to start the running interpreter as a kernel; no installed file is read."""
        return KernelSpec(
            argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            display_name="Python 3 (ipykernel)",
            language="python",
        )

    @property
    def returncode(self) -> int | None:
        return getattr(self.provisioner, "returncode", None)

    @property
    def pid(self) -> int | None:
        """The latest kernel's process number, None before the start."""
        return getattr(self.provisioner, "pid", None)

    async def _async_pre_start_kernel(
        self, *, transport_encryption: str | None = None, **kw: Any
    ) -> tuple[list[str], dict[str, Any]]:
        self.started = time.monotonic()
        if self._env is not None:
            kw.setdefault("env", dict(self._env))
        if self.provisioner is None:
            self.provisioner = provisioner = self._make_provisioner(self)
            self.connection_file = str(provisioner.directory / "kernel.json")
            if self.transport == "ipc":
                self.ip = str(provisioner.directory / "s")
        return await super()._async_pre_start_kernel(
            transport_encryption=transport_encryption, **kw
        )

    pre_start_kernel = _async_pre_start_kernel

    async def _async_wait(self, pollinterval: float = POLL_SECONDS) -> None:
        # The general manager looks ten times a second, as if looking were expensive.
        await super()._async_wait(pollinterval=min(pollinterval, POLL_SECONDS))

    async def _async_launch_kernel(self, kernel_cmd: list[str], **kw: Any) -> None:
        try:
            await super()._async_launch_kernel(kernel_cmd, **kw)
        except BaseException:
            await self._async_cleanup_resources()
            raise

    _launch_kernel = _async_launch_kernel
