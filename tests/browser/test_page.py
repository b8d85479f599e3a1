"""The live page in a real browser, before a real bridge, a simulated Tactium and a real broker."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, async_playwright, expect

from bridge.app import Program
from bridge.sandbox import RabbitMQNode, private_rabbitmq
from tests.browser.install import maybe_chromium
from tests.integration.conftest import TACTIUM, make_site
from tests.integration.site import Site, killed, until

PICTURES = Path(__file__).parents[2] / "build" / "screenshots"
SIZES = {"phone": (390, 844), "desk": (1440, 900), "wall": (3840, 2160)}
LIGHT_SECONDS = 3.0
TOKEN = "a-token-of-some-length"
MANY = 2_000
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
async def chromium() -> AsyncIterator[Browser]:
    """One browser for all tests here."""
    path = maybe_chromium()
    assert path is not None, "no Chromium: `make test` installs one"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=list(QUIET))
        try:
            yield browser
        finally:
            await browser.close()


class Seen:
    """What went wrong on a page, and where it asked for anything."""

    def __init__(self, page: Page) -> None:
        self.errors: list[str] = []
        self.addresses: list[str] = []
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.addresses.append(request.url))

    def _hear(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)


@asynccontextmanager
async def looking(
    browser: Browser, program: Program, path: str = "/", **options: Any
) -> AsyncIterator[tuple[Page, Seen]]:
    """Look at a bridge's page inside; nothing may go wrong there, and nothing ask elsewhere."""
    await until(lambda: program.face.address is not None)
    assert program.face.address is not None
    host, port = program.face.address
    context = await browser.new_context(**{"locale": "en-US", **options})
    try:
        page = await context.new_page()
        seen = Seen(page)
        await page.goto(f"http://{host}:{port}{path}")
        await expect(page.locator("body")).to_have_attribute("data-connected", "true")
        yield page, seen
        assert seen.errors == []
        assert {address.split("/")[2] for address in seen.addresses} == {f"{host}:{port}"}
    finally:
        await context.close()


@pytest.fixture
async def node() -> AsyncIterator[RabbitMQNode]:
    """A broker of its own, to be killed."""
    async with private_rabbitmq() as started:
        yield started


@pytest.fixture
async def site(vhost_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    """A site in which nothing happens by itself."""
    async with make_site(vhost_url, tmp_path / "bridge.db") as opened:
        yield opened


async def light(page: Page, part: str, ok: str) -> float:
    """Wait until a light is as it should be; return how long that took."""
    begin = time.monotonic()
    await expect(page.locator(f"#light-{part}")).to_have_attribute("data-ok", ok, timeout=20_000)
    return time.monotonic() - begin


async def test_tiles_follow_the_agents(chromium: Browser, site: Site) -> None:
    """A call begins and ends, a status changes, a command ends: the page shows each."""
    async with site.bridge() as program, looking(chromium, program) as (page, _):
        await light(page, "link", "true")
        await site.say("<ana><S><2>$")
        ana = page.locator("[data-agent=ana]")
        await expect(ana).to_have_attribute("data-status", "paused")
        await site.say("<ana><A><1><0><99885500><85><40051234><x><y><z=1;>$")
        await expect(ana).to_have_attribute("data-status", "in_call")
        await expect(ana).to_have_attribute("data-direction", "outbound")
        await expect(page.locator("#events")).to_contain_text("***34")
        await site.say("<ana><EndCall>$")
        await expect(ana).to_have_attribute("data-status", "paused")
        await site.ask({"command": "get_status", "agent": "ana"})
        await expect(page.locator("#commands li").first).to_contain_text("ana")
        assert "40051234" not in await page.content()


async def test_what_an_agent_is_called_is_text(chromium: Browser, site: Site) -> None:
    """No login, however it looks, becomes a part of the page."""
    async with site.bridge() as program, looking(chromium, program) as (page, _):
        await light(page, "link", "true")
        name = "&lt;img src=x onerror=alert(1)&gt;\"'"  # a login has no brackets, but all else
        await site.say(f"<{name}><S><1>$")
        await expect(page.locator("[data-agent]")).to_have_count(1)
        await expect(page.locator("[data-agent]")).to_contain_text(name)
        assert await page.locator("[data-agent] img, [data-agent] script").count() == 0


async def test_lights_follow_a_link_that_drops(chromium: Browser, site: Site) -> None:
    """Within seconds, both ways, and the gap is shown."""
    async with site.bridge() as program, looking(chromium, program) as (page, _):
        await light(page, "link", "true")
        await light(page, "broker", "true")
        await light(page, "journal", "true")
        await light(page, "leader", "true")
        await site.tactium.refuse()
        await site.tactium.drop_clients()
        took = await light(page, "link", "false")
        assert took < LIGHT_SECONDS  # what the page promises, and six times what it takes
        await site.tactium.accept()
        await light(page, "link", "true")
        await expect(page.locator("#gaps li")).to_have_count(1)


async def test_lights_follow_a_broker_that_is_killed(
    chromium: Browser, node: RabbitMQNode, tmp_path: Path
) -> None:
    """Within seconds, both ways; events that come meanwhile are on the page all the same."""
    async with (
        make_site(node.url(), tmp_path / "bridge.db") as site,
        site.bridge() as program,
        looking(chromium, program) as (page, _),
    ):
        await light(page, "broker", "true")
        await light(page, "link", "true")
        await killed(node)
        took = await light(page, "broker", "false")
        assert took < LIGHT_SECONDS
        await site.say("<ana><S><1>$")
        await expect(page.locator("[data-agent=ana]")).to_have_attribute("data-status", "available")
        await node.restart()
        await light(page, "broker", "true")


async def test_the_chart_moves(chromium: Browser, site: Site) -> None:
    """It gets a point a second, and shows what was said."""
    async with site.bridge() as program, looking(chromium, program) as (page, _):
        await light(page, "link", "true")
        chart = page.locator("#rate-chart")
        before = int(await chart.get_attribute("data-points") or 0)
        empty = await chart.inner_html()
        for _ in range(30):
            await site.say("<ana><S><1>$<bruno><S><1>$")
            await asyncio.sleep(0.1)

        async def has_moved() -> bool:
            points = int(await chart.get_attribute("data-points") or 0)
            return points >= before + 2 and await chart.inner_html() != empty

        await until(has_moved)


async def test_a_page_that_loses_its_bridge_says_so_and_comes_back(
    chromium: Browser, site: Site
) -> None:
    """A banner, lights that claim nothing; and all is as before when the bridge is there again."""
    async with site.bridge() as program:
        await until(lambda: program.face.address is not None)
        assert program.face.address is not None
        port = program.face.address[1]
    http = site.settings.http.model_copy(update={"port": port})
    site.settings = site.settings.model_copy(update={"http": http})
    context = await chromium.new_context(locale="en-US")
    page = await context.new_page()
    async with site.bridge() as program:
        await until(lambda: program.face.address is not None)
        await page.goto(f"http://127.0.0.1:{port}/")
        await light(page, "link", "true")
        await expect(page.locator("#banner")).to_be_hidden()
    await expect(page.locator("body")).to_have_attribute("data-connected", "false")
    await expect(page.locator("#banner")).to_be_visible()
    assert await page.locator("#light-link").get_attribute("data-ok") == "null"
    async with site.bridge():
        await light(page, "link", "true")
        await expect(page.locator("#banner")).to_be_hidden()
        await context.close()


async def test_the_token_opens_the_page_once(
    chromium: Browser, vhost_url: str, tmp_path: Path
) -> None:
    """Given in the address it is taken out of there, and the cookie does from then on."""
    async with (
        make_site(vhost_url, tmp_path / "bridge.db", http={"token": TOKEN}) as site,
        site.bridge() as program,
        looking(chromium, program, f"/?token={TOKEN}") as (page, _),
    ):
        await light(page, "link", "true")
        assert TOKEN not in page.url
        assert TOKEN not in await page.evaluate("document.cookie")
        await page.reload()
        await light(page, "link", "true")


@pytest.mark.parametrize(("language", "word"), [("pt-BR", "Agentes"), ("en-US", "Agents")])
async def test_it_speaks_the_browser_s_language(
    chromium: Browser, site: Site, language: str, word: str
) -> None:
    """Portuguese and English, and says which."""
    async with (
        site.bridge() as program,
        looking(chromium, program, locale=language) as (page, _),
    ):
        await expect(page.locator("html")).to_have_attribute("lang", re.compile(language[:2]))
        await expect(page.locator("main")).to_contain_text(word, ignore_case=True)


@pytest.mark.timeout(240)
async def test_two_thousand_agents_at_three_sizes(
    chromium: Browser, vhost_url: str, tmp_path: Path
) -> None:
    """No size scrolls sideways, and the page stays quick while they change."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    names = tuple(f"agent{number:04}" for number in range(MANY))
    tactium = replace(TACTIUM, agents=names)
    async with (
        make_site(vhost_url, tmp_path / "bridge.db", tactium=tactium) as site,
        site.bridge() as program,
        looking(chromium, program) as (page, _),
    ):
        await light(page, "link", "true")
        await site.say("".join(f"<{name}><S><{number % 5}>$" for number, name in enumerate(names)))
        await expect(page.locator("[data-agent]")).to_have_count(MANY, timeout=20_000)
        await page.evaluate(_COUNT_LONG_TASKS)
        for second in range(4):
            await site.say(
                "".join(
                    f"<{name}><A><{number}><{number % 2}><99885500><85><40050500><x><y><z=1;>$"
                    for number, name in enumerate(names[second * 200 : second * 200 + 200])
                )
            )
            await asyncio.sleep(1)
        busy = page.locator("[data-agent][data-status=in_call]")
        await expect(busy).to_have_count(800)
        longest = await page.evaluate("window.longest")
        (PICTURES / "longest-task.json").write_text(json.dumps({"milliseconds": longest}))
        for name, (width, height) in SIZES.items():
            await page.set_viewport_size({"width": width, "height": height})
            for scheme in ("light", "dark"):
                await page.emulate_media(color_scheme=scheme)
                await asyncio.sleep(0.3)
                await page.screenshot(path=PICTURES / f"{name}-{scheme}.png")
            is_wide = "document.documentElement.scrollWidth > window.innerWidth"
            assert not await page.evaluate(is_wide), f"{name} scrolls sideways"


_COUNT_LONG_TASKS = """() => {
  window.longest = 0;
  new PerformanceObserver(list => {
    for (const each of list.getEntries()) window.longest = Math.max(window.longest, each.duration);
  }).observe({type: 'longtask'});
}"""
