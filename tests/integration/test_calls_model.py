"""What is published of calls, held to a model: random calls, commands, drops and restarts."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from bridge.messages.events import Direction
from bridge.sandbox import RabbitMQNode
from bridge.simulator import Call, Habits, Status
from tests.integration.conftest import TACTIUM, make_site
from tests.integration.site import until

SOAK = bool(os.environ.get("SOAK"))
EXAMPLES = 60 if SOAK else 6
STEPS = 40
AGENTS = ("ana", "bruno", "carla")
SECONDS = 60.0

_T = TypeVar("_T")


@dataclass
class Truth:
    """One call as the contact center had it; `heard` says whether the bridge could hear that."""

    agent: str
    direction: str
    begin_heard: bool
    end_heard: bool | None = None  # None: it goes on


class CallsMachine(RuleBasedStateMachine):
    """A contact center on one side, a subscriber on the other, and a bridge that comes and goes."""

    loop: asyncio.AbstractEventLoop
    rabbitmq: RabbitMQNode
    folder: Any

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0
        self.truths: dict[str, Truth] = {}
        self.hears = True
        self.marks = 0
        self.events: list[dict[str, Any]] = []
        self.run(self._open())

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Do something in the tests' own loop, and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(SECONDS)

    # --- what happens -----------------------------------------------------------

    @rule(agent=st.sampled_from(AGENTS), outbound=st.booleans())
    def begin(self, agent: str, *, outbound: bool) -> None:
        """A call arrives, at whoever has none."""
        if not self.site.tactium.center.maybe_call(agent):
            self.run(self._begin(agent, outbound=outbound))

    @rule(agent=st.sampled_from(AGENTS))
    def end(self, agent: str) -> None:
        """The other side hangs up."""
        if self.site.tactium.center.maybe_call(agent):
            self._close(agent)
            self.run(self._do(self.site.tactium.end_call, agent))

    @rule(agent=st.sampled_from(AGENTS))
    def record(self, agent: str) -> None:
        """A recording is told of."""
        self.numbers += 1
        self.run(self._do(self.site.tactium.record, agent, f"{self.numbers}.wav"))

    @rule(agent=st.sampled_from(AGENTS), name=st.sampled_from(["get_status", "get_current_call"]))
    def ask(self, agent: str, name: str) -> None:
        """Somebody asks what is known anyway."""
        if self.hears:
            self.run(self.site.ask({"command": name, "agent": agent}))

    @rule(agent=st.sampled_from(AGENTS))
    def hang_up(self, agent: str) -> None:
        """Somebody ends the call by a command."""
        if self.hears and self.site.tactium.center.maybe_call(agent):
            self._close(agent)
            reply = self.run(self.site.ask({"command": "hang_up", "agent": agent}))
            assert reply["outcome"] == "ok"

    @rule(agent=st.sampled_from(AGENTS))
    def make_call(self, agent: str) -> None:
        """Somebody dials by a command: its reply carries the call."""
        if self.hears and not self.site.tactium.center.maybe_call(agent):
            self.run(self._make_call(agent))

    @rule()
    def drop(self) -> None:
        """The connection is lost for a moment."""
        if self.hears:
            self.run(self._drop())

    @rule()
    def leave(self) -> None:
        """Tactium cannot be reached for a while."""
        if self.hears:
            self.run(self._leave())

    @rule()
    def come_back(self) -> None:
        """It can again, and what changed is asked."""
        if not self.hears:
            self.run(self._come_back())

    @rule(agent=st.sampled_from(AGENTS), acts=st.lists(st.booleans(), max_size=3))
    def restart(self, agent: str, acts: list[bool]) -> None:
        """The bridge stops, calls begin and end meanwhile, and it starts again."""
        if self.hears:
            self.run(self._stop())
            for outbound in acts:
                self.end(agent)
                self.begin(agent, outbound=outbound)
            self.run(self._start())

    # --- what must hold ---------------------------------------------------------

    @invariant()
    def what_is_published_is_true(self) -> None:
        """After each step: one id for each call, one start, one end, and the right ones."""
        if self.hears:
            self.run(self._catch_up())
            self._check_stories()
            self.run(self._check_state())

    def _check_stories(self) -> None:
        ids = [event["id"] for event in self.events]
        assert len(set(ids)) == len(ids)  # nothing twice
        calls: dict[str, list[dict[str, Any]]] = {}
        for event in self.events:
            call_id = event["data"].get("call_id")
            if event["type"].startswith("tactium.call.") and call_id is not None:
                calls.setdefault(call_id, []).append(event)
        numbers: dict[str, str] = {}
        for call_id, events in calls.items():
            shown = {e["data"]["dial_item_id"] for e in events if "dial_item_id" in e["data"]}
            (number,) = shown  # of one call, and of one alone
            assert numbers.setdefault(number, call_id) == call_id
            self._check_call(self.truths[number], events)
        for number, truth in self.truths.items():
            assert number in numbers or not truth.begin_heard  # nothing missing outside gaps

    def _check_call(self, truth: Truth, events: list[dict[str, Any]]) -> None:
        kinds = [event["type"].removeprefix("tactium.") for event in events]
        ends = [e for e in events if e["type"] == "tactium.call.ended"]
        ends = [end for end in ends if not end["data"]["repeated"]]
        starts = [event for event in events if event["type"] == "tactium.call.started"]
        assert {event["data"]["agent"] for event in events} == {truth.agent}
        assert len(starts) <= 1
        assert len(ends) <= 1
        assert {e["data"]["direction"] for e in events if "direction" in e["data"]} == {
            truth.direction
        }
        assert kinds[0] in ("call.started", "call.current")
        if truth.begin_heard:
            assert kinds[0] == "call.started"
            assert kinds.count("call.started") == 1
        if truth.end_heard is None:
            assert not ends
        else:
            assert len(ends) == 1
            assert ends[0]["data"]["inferred"] is not truth.end_heard
            if starts:
                lasted = at(ends[0]) - at(starts[0])
                assert ends[0]["data"]["started_at"] == starts[0]["time"]
                assert ends[0]["data"]["duration_seconds"] == pytest.approx(lasted, abs=1e-5)

    async def _check_state(self) -> None:
        reply = await self.site.ask({"command": "get_agents"})
        known = {state["agent"]: state for state in reply["data"]["agents"]}
        for agent in AGENTS:
            call = self.site.tactium.center.maybe_call(agent)
            shown = known[agent]["call"] if agent in known else None
            if call is None:
                assert shown is None
            elif agent in known:
                assert shown is not None
            if call is not None and shown is not None:
                assert shown["dial_item_id"] == call.dial_item_id

    # --- how it is done ---------------------------------------------------------

    async def _open(self) -> None:
        self.stack = AsyncExitStack()
        vhost = f"model-{id(self)}"
        await self.rabbitmq.add_vhost(vhost)
        self.stack.push_async_callback(self.rabbitmq.remove_vhost, vhost)
        commands = {"timeout": 0.4, "make_call_window": 2.0}
        self.site = await self.stack.enter_async_context(
            make_site(
                self.rabbitmq.url(vhost),
                self.folder / f"{vhost}.db",
                tactium=replace(TACTIUM, habits=Habits(wrap_up_seconds=(1000, 1000))),
                commands=commands,
                agents={"resync_per_second": 1000.0},
            )
        )
        self.bridge = AsyncExitStack()
        await self.bridge.enter_async_context(self.site.bridge())
        await self.site.ask({"command": "get_agents"})
        await self.site.next_data("main.link.up")

    async def _do(self, act: Any, *arguments: Any) -> None:
        act(*arguments)

    async def _begin(self, agent: str, *, outbound: bool) -> None:
        self.numbers += 1
        number = str(self.numbers)
        direction: Direction = "outbound" if outbound else "inbound"
        call = Call(direction, dial_item_id=number, destination=f"4005{self.numbers:04}")
        self.truths[number] = Truth(agent, direction, begin_heard=self.hears)
        self.site.tactium.set_status(agent, Status.AVAILABLE)
        self.site.tactium.begin_call(agent, call)

    async def _make_call(self, agent: str) -> None:
        self.numbers += 1
        context = {"n": self.numbers}
        phone = f"4006{self.numbers:04}"
        self.site.tactium.set_status(agent, Status.AVAILABLE)
        asking = asyncio.create_task(
            self.site.ask(
                {"command": "make_call", "agent": agent, "phone": phone, "context": context}
            )
        )
        number = str(self.numbers)
        frame = f"<{agent}><A><><{phone}><>$".encode()
        await until(lambda: frame in self.site.tactium.received)
        # The center would dial by itself, without a number of ours: this is its call.
        agents = self.site.tactium.center._agents
        agents[agent].dialling = None
        agents[agent].enter(Status.AVAILABLE)
        self.truths[number] = Truth(agent, "outbound", begin_heard=True)
        call = Call("outbound", dial_item_id=number, destination=phone)
        self.site.tactium.begin_call(agent, call)
        reply = await asking
        assert reply["outcome"] == "ok"
        assert reply["data"]["dial_item_id"] == number
        assert reply["data"]["call_id"] is not None
        assert reply["data"]["context"] == context

    def _close(self, agent: str) -> None:
        call = self.site.tactium.center.maybe_call(agent)
        assert call is not None
        self.truths[call.dial_item_id].end_heard = self.hears

    async def _drop(self) -> None:
        await self._catch_up()
        await self.site.tactium.drop_clients()
        await self._until_resync()

    async def _leave(self) -> None:
        await self._catch_up()
        await self.site.tactium.refuse()
        await self._until("main.link.down")
        self.hears = False

    async def _come_back(self) -> None:
        await self.site.tactium.accept()
        await self._until_resync()
        self.hears = True

    async def _stop(self) -> None:
        await self._catch_up()
        self.hears = False
        await self.bridge.aclose()
        await self._until("main.link.down")

    async def _start(self) -> None:
        await self.bridge.enter_async_context(self.site.bridge())
        await self._until_resync()
        self.hears = True

    async def _until_resync(self) -> None:
        """Wait until what is known is again what Tactium knows."""
        await self._until("main.resync")
        reply = await self.site.ask({"command": "get_agents"})
        for state in reply["data"]["agents"]:
            status = self.site.tactium.center.maybe_status(state["agent"])
            if state["code"] is not None and status is not None:
                assert state["code"] == status.value

    async def _catch_up(self) -> None:
        """Wait until all that was said so far has been published."""
        self.marks += 1
        await self.site.say(f"<mark><G><{self.marks}>$")
        await self._until("mark.call.recorded", path=str(self.marks))

    async def _until(self, key: str, **wanted: Any) -> None:
        while True:
            message = await self.site.next_message()
            event = json.loads(message.body)
            if message.exchange == "tactium.events" and event["subject"] != "mark":
                self.events.append(event)
            if message.routing_key == key and wanted.items() <= event["data"].items():
                return

    def teardown(self) -> None:
        """Come to an end: with the link, so that the state can be compared once more."""
        if not self.hears:
            self.come_back()
            self.what_is_published_is_true()
        self.run(self._close_all())

    async def _close_all(self) -> None:
        await self.bridge.aclose()
        await self.stack.aclose()


def at(event: dict[str, Any]) -> float:
    return datetime.fromisoformat(event["time"]).timestamp()


@pytest.mark.timeout(1800 if SOAK else 180)
async def test_calls_against_a_model(rabbitmq: RabbitMQNode, tmp_path: Any) -> None:
    """Whatever happens: one start, at most one end, one id throughout, and nothing invented."""
    CallsMachine.loop = asyncio.get_running_loop()
    CallsMachine.rabbitmq = rabbitmq
    CallsMachine.folder = tmp_path
    limits = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        derandomize=not SOAK,
        suppress_health_check=list(HealthCheck),
    )
    await asyncio.to_thread(run_state_machine_as_test, CallsMachine, settings=limits)
