"""compose.yaml, really brought up: events come, commands are answered, what dies comes back."""

from __future__ import annotations

import asyncio
import json
import signal
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jsonschema
import pytest
import yaml
from yarl import URL

from bridge.amqp.session import open_connection
from bridge.client import BridgeClient, BrokerRefused, Outcome, Subscription
from deploy.setup import NAMES
from tests.compose.conftest import STARTED
from tests.compose.engine import ROOT, Engine
from tests.compose.images import services

SPECIFICATION = Path("/usr/lib/python3/dist-packages/compose/config/compose_spec.json")
"""The Compose specification's schema, as Debian's docker-compose brings it."""

PATIENCE_SECONDS = 120
SETTLED = 5
"""So many messages show that they flow."""

pytestmark = pytest.mark.timeout(900)


_ALL_SECRETS = "import json, os; print(json.dumps(os.listdir('/run/secrets')))"


async def until(is_so: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(is_so):  # noqa: ASYNC110 - another process is asked
            await asyncio.sleep(0.5)


async def until_all_are_well(engine: Engine) -> None:
    await until(lambda: all(map(engine.is_well, STARTED)))


@asynccontextmanager
async def client(engine: Engine, user: str) -> AsyncIterator[BridgeClient]:
    """A client on this machine."""
    async with BridgeClient(url_of(engine, user)) as bridge:
        yield bridge


def url_of(engine: Engine, user: str) -> str:
    """Return the broker's address on this machine, with a password as an operator gets it."""
    password = quote(secret(engine, user), safe="")
    return f"amqp://{user}:{password}@127.0.0.1:{engine.port('rabbitmq', 5672)}/"


def secret(engine: Engine, name: str) -> str:
    return engine.compose("run", "--rm", "setup", "show", name).strip()


def get(engine: Engine, service: str, port: int, path: str, token: str = "") -> Any:
    address = f"http://127.0.0.1:{engine.port(service, port)}{path}"
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with urllib.request.urlopen(
        urllib.request.Request(address, headers=headers), timeout=10
    ) as answer:
        return json.load(answer)


def test_the_file_keeps_to_the_specification(engine: Engine) -> None:
    """Of Compose, in the version that the oldest program that we name knows."""
    schema = json.loads(SPECIFICATION.read_text())
    jsonschema.Draft7Validator(schema).validate(yaml.safe_load((ROOT / "compose.yaml").read_text()))
    profiles = ("--profile=demo", "--profile=monitoring", "--profile=tools")
    shown = yaml.safe_load(engine.compose(*profiles, "config"))
    assert set(shown["services"]) == set(services())


async def test_all_become_well(up: Engine) -> None:
    """And `setup` did its work and ended."""
    await until_all_are_well(up)
    state = up.container("setup")["State"]
    assert (state["Running"], state["ExitCode"]) == (False, 0)
    ready = get(up, "bridge", 8025, "/readyz", secret(up, "http_token"))
    assert ready["ready"], ready


@pytest.mark.parametrize("service", STARTED)
async def test_a_service_may_do_little(up: Engine, service: str) -> None:
    """No root, no rights, no writing but where it must, no more than its share, no open door."""
    container = up.container(service)
    host = container["HostConfig"]
    assert container["Config"]["User"] not in ("", "root", "0", "0:0")
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert host["CapAdd"] is None
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert 0 < host["Memory"] <= 1024**3
    assert host["NanoCpus"] > 0
    assert 0 < host["PidsLimit"] <= 512
    assert host["LogConfig"]["Config"]["max-size"]
    bindings = [binding for port in (host["PortBindings"] or {}).values() for binding in port]
    assert {binding["HostIp"] for binding in bindings} <= {"127.0.0.1"}


async def test_no_secret_is_in_a_file_or_an_environment(up: Engine) -> None:
    """They are in the volumes alone, and each service sees its own."""
    secrets = {name: secret(up, name) for name in NAMES}
    assert len(set(secrets.values())) == len(NAMES)
    everything = up.compose("logs", "--no-color") + "".join(
        json.dumps(up.container(service)) for service in STARTED
    )
    assert [name for name, secret in secrets.items() if secret in everything] == []
    seen = up.compose("exec", "-T", "bridge", "python", "-c", _ALL_SECRETS)
    assert sorted(json.loads(seen)) == ["BRIDGE_AMQP__URL", "BRIDGE_HTTP__TOKEN"]


async def test_an_event_comes_and_a_command_is_answered(up: Engine) -> None:
    """To a program on this machine, under the rights that `setup` gave its user."""
    async with asyncio.timeout(PATIENCE_SECONDS), client(up, "subscriber") as bridge:
        event = await anext(bridge.events("*.call.#"))
        assert event.type.startswith("tactium.call.")
    async with client(up, "commander") as bridge:
        reply = await bridge.get_status("ana")
        assert reply.outcome is Outcome.OK


async def test_send_and_tail_need_nothing_installed(up: Engine) -> None:
    """They are services that are run by hand."""
    said = up.compose("run", "--rm", "-T", "send", "get_status", "--agent", "ana")
    assert json.loads(said)["outcome"] == "ok"
    shown = up.first_line("run", "--rm", "-T", "tail", "--json")
    assert json.loads(shown)["specversion"] == "1.0"


class Everything:
    """All messages of the bridge from now on, by their numbers, which both streams share."""

    def __init__(self, *of: Subscription) -> None:
        self._of = of
        self.numbers: set[int] = set()

    async def read(self) -> None:
        """Read until cancelled."""
        async with asyncio.TaskGroup() as group:
            for subscription in self._of:
                group.create_task(self._read(subscription))

    async def _read(self, subscription: Subscription) -> None:
        async for event in subscription:
            self.numbers.add(event.sequence)

    async def more(self) -> int:
        """Return the highest number once some more were seen, and all before it."""
        before = max(self.numbers, default=0)
        await until(lambda: sum(number > before for number in self.numbers) >= SETTLED)
        last = max(self.numbers)
        await asyncio.sleep(2)
        return last


@pytest.mark.parametrize("how", ["crashes", "is_killed"])
@pytest.mark.parametrize("service", STARTED)
async def test_what_dies_comes_back(up: Engine, service: str, how: str) -> None:
    """After a crash by itself, after `docker kill` by `up`; no message is missing then."""
    async with client(up, "subscriber") as bridge:
        queue = f"subscriber.{service}.{how}"
        everything = Everything(
            bridge.events("#", queue=queue), bridge.notices("#", queue=f"{queue}.notices")
        )
        reading = asyncio.create_task(everything.read())
        first = await everything.more()
        if how == "crashes":
            up.kill_process(service)
        else:
            up.docker("kill", up.container(service)["Id"])
            up.bring_up(*STARTED)
        await asyncio.sleep(1)
        await until_all_are_well(up)
        last = await everything.more()
        reading.cancel()
    assert set(range(first, last)) - everything.numbers == set()
    async with client(up, "commander") as bridge:
        assert (await bridge.get_status("ana")).outcome is Outcome.OK


async def test_a_secret_can_be_replaced(up: Engine) -> None:
    """By what a file holds; whoever has the old one is refused."""
    old = url_of(up, "commander")
    up.compose("run", "--rm", "-T", "setup", "set", "commander", given="a-word-of-one's-own/@:")
    up.compose("restart", "rabbitmq")
    await until_all_are_well(up)
    with pytest.raises(BrokerRefused):
        await open_connection(URL(old), "test")
    async with client(up, "commander") as bridge:
        assert (await bridge.get_status("ana")).outcome is Outcome.OK


async def test_prometheus_reads_the_bridge_and_has_the_rules(up: Engine) -> None:
    def target() -> list[str]:
        found = get(up, "prometheus", 9090, "/api/v1/targets")["data"]["activeTargets"]
        return [each["health"] for each in found]

    await until(lambda: target() == ["up"])
    rules = get(up, "prometheus", 9090, "/api/v1/rules")["data"]["groups"]
    assert all(rule["health"] in ("ok", "unknown") for group in rules for rule in group["rules"])
    assert sum(len(group["rules"]) for group in rules) > 0


async def test_stop_ends_each_in_order(up: Engine) -> None:
    """SIGTERM is enough for the bridge, within its time: exit 0; and `up` brings all back."""
    up.compose("stop", "bridge", "simulator", "rabbitmq")
    codes = {service: up.container(service)["State"]["ExitCode"] for service in STARTED}
    assert (codes["bridge"], codes["simulator"]) == (0, 0)
    up.bring_up(*STARTED)
    await until_all_are_well(up)


MEMBERS = ("rabbitmq-2", "rabbitmq-3", "rabbitmq-members", "bridge-2")
ALL = (*STARTED, *MEMBERS)
KILLED = 128 + signal.SIGKILL
"""The exit status of what did not stop in its time."""
QUEUES = ("rabbitmqctl", "--silent", "list_queues", "--formatter", "json", "name", "members")


async def test_two_bridges_and_three_brokers(up: Engine) -> None:
    """Whatever one dies of them, the rest goes on: profile `ha`."""
    up.choose(BRIDGE_AMQP__HISTORY="true")
    up.bring_up(*STARTED)
    await until(lambda: all(map(up.is_well, STARTED)))
    await until(lambda: _has_members(up, "tactium.history", 1))
    up.choose("ha")
    up.bring_up(*ALL)
    await until(lambda: all(map(up.is_well, ALL)))
    token = secret(up, "http_token")
    roles = dict.fromkeys(("bridge", "bridge-2"), "")

    def is_shared() -> bool:
        for service in roles:
            with suppress(OSError, ValueError):
                said = get(up, service, 8025, "/readyz", token)
                roles[service] = said["role"] if said["ready"] else ""
        return sorted(roles.values()) == ["leader", "standby"]

    await until(is_shared)
    await until(lambda: _has_members(up, "tactium.commands", 3))
    await until(lambda: _has_members(up, "tactium.history", 3), 3 * PATIENCE_SECONDS)
    leader = next(service for service, role in roles.items() if role == "leader")
    async with client(up, "subscriber") as bridge:
        everything = Everything(bridge.events("#", queue="subscriber.ha"))
        reading = asyncio.create_task(everything.read())
        await everything.more()
        up.docker("kill", up.container("rabbitmq-3")["Id"])
        await everything.more()
        up.docker("kill", up.container(leader)["Id"])
        everything.numbers.clear()  # those of another journal
        await everything.more()
        reading.cancel()
        async with asyncio.timeout(PATIENCE_SECONDS):
            first = await anext(bridge.events("#", since=timedelta(hours=1)))
            assert first.sequence
    async with client(up, "commander") as bridge:
        assert (await bridge.get_status("ana")).outcome is Outcome.OK
    up.bring_up(*ALL)
    await until(is_shared)
    up.compose("stop", *ALL)
    ends = {each: up.container(each)["State"]["ExitCode"] for each in ALL}
    assert KILLED not in ends.values(), ends
    async with asyncio.TaskGroup() as together:
        together.create_task(asyncio.to_thread(up.bring_up, *ALL))
        together.create_task(_fail_at_first(up, "rabbitmq"))
        together.create_task(_fail_at_first(up, "rabbitmq-3"))
    await until(is_shared)
    up.compose("rm", "--stop", "--force", *MEMBERS)


async def _fail_at_first(engine: Engine, service: str) -> None:
    """End a service's process as soon as it runs, as RabbitMQ 4.0 does by itself at times."""
    await until(lambda: bool(engine.container(service)["State"]["Running"]))
    engine.kill_process(service)


def _has_members(engine: Engine, queue: str, count: int) -> bool:
    """Return whether so many nodes have a queue."""
    said = json.loads(engine.docker("exec", engine.container("rabbitmq")["Id"], *QUEUES))
    return any(each["name"] == queue and len(each["members"]) == count for each in said)
