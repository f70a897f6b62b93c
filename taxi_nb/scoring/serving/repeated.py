"""What a server does beside answering: again and again, in threads of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from taxi_nb.trips.errors import one_line


class Repeated:
    """Works that are done every so many seconds until `end`.

    What a work raises is said once, with what follows from it, until it goes well again. The
    others are done all the same.
    """

    def __init__(
        self,
        seconds: float,
        works: Mapping[str, Callable[[], None]],  # By what cannot be done if one raises.
        say: Callable[[str], None],
        so: Callable[[], str],
        *,
        also_at_the_end: bool = False,
    ) -> None:
        self._seconds, self._works, self._say, self._so = seconds, works, say, so
        self._also_at_the_end = also_at_the_end
        self._ended = threading.Event()
        self._said: dict[str, str] = {}

    def go_on(self) -> None:
        """Do the works until `end`."""
        while not self._ended.wait(self._seconds):
            self.once()
        if self._also_at_the_end:
            self.once()

    def end(self) -> None:
        """Let `go_on` end."""
        self._ended.set()

    def once(self) -> None:
        """Do each work."""
        for what, work in self._works.items():
            try:
                work()
            except Exception as error:  # Whatever a disk, a store or a model may say.
                reason = one_line(error)
                if self._said.get(what) != reason:
                    self._say(f"{what}: {reason}; {self._so()}")
                self._said[what] = reason
            else:
                self._said.pop(what, None)


@asynccontextmanager
async def threads(*loops: Repeated) -> AsyncIterator[None]:
    """Let loops run in threads of their own, and end them in order."""
    works = {loop: threading.Thread(target=loop.go_on, daemon=True) for loop in loops}
    for work in works.values():
        work.start()
    try:
        yield
    finally:
        for loop, work in works.items():
            loop.end()
            await asyncio.to_thread(work.join, 10)
