"""A stack beside synchronous code: its event loop runs in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Generator
from concurrent.futures import Future

from lab.stack.events import Listener, silent
from lab.stack.options import Options
from lab.stack.stack import Stack
from sip.local import LocalStack


@contextlib.contextmanager
def background(options: Options | None = None, on_event: Listener = silent) -> Generator[LocalStack]:
    """Start a stack, hand out its addresses, stop it at the end.

    Raises what `Stack` raises: `SipError` at the start, `PartDied` at the end when a part has died meanwhile.
    `on_event` is called from the stack's thread.
    """
    up: Future[tuple[LocalStack, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    ended: Future[None] = Future()

    async def run() -> None:
        stack = Stack(options, on_event)
        enough = asyncio.Event()
        await stack.start()
        try:
            up.set_result((stack.local, asyncio.get_running_loop(), enough))
            dying = asyncio.create_task(stack.wait())
            waiting = asyncio.create_task(enough.wait())
            await asyncio.wait([dying, waiting], return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if dying.done():
                raise dying.result()
            dying.cancel()
        finally:
            await stack.stop()

    def main() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
            (ended if up.done() else up).set_exception(error)
        else:
            ended.set_result(None)

    thread = threading.Thread(target=main, name="stack")
    thread.start()
    try:
        local, loop, enough = up.result()
        try:
            yield local
        finally:
            with contextlib.suppress(RuntimeError):  # the loop is closed: a part died, `ended` says which
                loop.call_soon_threadsafe(enough.set)
            ended.result()
    finally:
        thread.join()
