"""A bound on waits that follow each other, in either event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from bridge.links.patience import Patience, WaitedTooLong
from bridge.loop import Loop, fastest

LOOPS = [pytest.param(Loop, id="asyncio"), pytest.param(fastest(), id="uvloop")]
LONG_SECONDS = 30.0
SOON_SECONDS = 0.02


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[], Awaitable[None]]], None]:
    """Run something in a loop, and not for good."""

    def run(work: Callable[[], Awaitable[None]]) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(LONG_SECONDS / 2):
                await work()

        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(bounded())

    return run


Run = Callable[[Callable[[], Awaitable[None]]], None]


async def never() -> None:
    await asyncio.Event().wait()


def test_what_takes_too_long_is_ended(run: Run) -> None:
    """And what is waited for after it has all its time."""

    async def work() -> None:
        patience = Patience()
        for _ in range(3):
            begin = asyncio.get_running_loop().time()
            with pytest.raises(WaitedTooLong), patience.within(SOON_SECONDS):
                await never()
            assert asyncio.get_running_loop().time() - begin >= SOON_SECONDS - 0.002
            with patience.within(LONG_SECONDS):
                await asyncio.sleep(2 * SOON_SECONDS)

    run(work)


def test_each_wait_has_its_own_time(run: Run) -> None:
    """However long all of them take together, and whatever is done between them."""

    async def work() -> None:
        patience = Patience()
        for _ in range(8):
            with patience.within(2 * SOON_SECONDS):
                await asyncio.sleep(SOON_SECONDS)
        await asyncio.sleep(3 * SOON_SECONDS)
        with patience.within(2 * SOON_SECONDS):
            await asyncio.sleep(SOON_SECONDS)

    run(work)


def test_less_time_than_the_wait_before_had_is_kept_as_well(run: Run) -> None:
    async def work() -> None:
        patience = Patience()
        with patience.within(LONG_SECONDS):
            await asyncio.sleep(0)
        with pytest.raises(WaitedTooLong), patience.within(SOON_SECONDS):
            await never()

    run(work)


def test_waits_set_one_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is what it is there for."""

    async def work() -> None:
        loop = asyncio.get_running_loop()
        asked: list[float] = []
        call_at = loop.call_at

        def note(at: float, *rest: Any) -> asyncio.TimerHandle:
            asked.append(at)
            return call_at(at, *rest)

        monkeypatch.setattr(loop, "call_at", note)
        patience = Patience()
        for _ in range(100):
            with patience.within(LONG_SECONDS):
                await asyncio.sleep(0)
        assert len(asked) == 1

    asyncio.run(work())


def test_a_wait_that_outlives_the_timer_of_one_before_is_ended(run: Run) -> None:
    """The timer is set anew when it fires while there is time left."""

    async def work() -> None:
        patience = Patience()
        with patience.within(2 * SOON_SECONDS):
            await asyncio.sleep(SOON_SECONDS)
        begin = asyncio.get_running_loop().time()
        with pytest.raises(WaitedTooLong), patience.within(3 * SOON_SECONDS):
            await never()
        assert asyncio.get_running_loop().time() - begin >= 3 * SOON_SECONDS - 0.002

    run(work)


def test_nothing_is_left_of_it(run: Run) -> None:
    """No timer once it is closed, and no cancellation that the task would count."""

    async def work() -> None:
        patience = Patience()
        with pytest.raises(WaitedTooLong), patience.within(SOON_SECONDS):
            await never()
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        with patience.within(SOON_SECONDS):
            pass
        patience.close()
        assert patience._timer is None
        await asyncio.sleep(2 * SOON_SECONDS)
        asyncio.get_running_loop().call_soon(task.cancel)
        with pytest.raises(asyncio.CancelledError), patience.within(LONG_SECONDS):
            await never()
        assert task.uncancel() == 0

    run(work)


@pytest.mark.parametrize("is_first", [True, False])
def test_who_is_cancelled_is_cancelled_at_the_very_moment_as_well(
    run: Run, *, is_first: bool
) -> None:
    """In the same turn of the loop in which the time is over, before it and after it."""

    async def work() -> None:
        patiences: list[Patience] = []

        async def wait() -> None:
            patiences.append(Patience())
            with patiences[0].within(LONG_SECONDS):
                await never()

        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        patiences[0]._until = 0.0  # it was over long ago
        for end in (
            (task.cancel, patiences[0]._look) if is_first else (patiences[0]._look, task.cancel)
        ):
            end()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    run(work)


def test_what_fails_by_itself_says_so(run: Run) -> None:
    """The kernel's own timeout is not ours, and what fails as it is ended fails."""

    async def fail() -> None:
        try:
            await never()
        finally:
            raise ValueError("on its way out")

    async def work() -> None:
        with pytest.raises(ValueError, match="way out"), Patience().within(SOON_SECONDS):
            await fail()
        with pytest.raises(TimeoutError) as caught, Patience().within(LONG_SECONDS):
            raise TimeoutError("the peer is gone")
        assert not isinstance(caught.value, WaitedTooLong)

    run(work)
