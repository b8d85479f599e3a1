"""The link over TLS, as through a stunnel in front of Tactium; the broker behind TLS as well."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trustme
from structlog.testing import capture_logs
from yarl import URL

from bridge.settings import AmqpSettings, LinkSettings
from tests.integration.site import OpenSite, until


@asynccontextmanager
async def stunnel(to_port: int, authority: trustme.CA) -> AsyncIterator[int]:
    """Take TLS connections on the port yielded, and pass what they say on in the clear."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", to_port)
        await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1]


async def test_tls_with_a_certificate_authority_of_ones_own(
    open_site: OpenSite, tmp_path: Path
) -> None:
    """With the CA that signed the server's certificate, events and commands flow."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    async with open_site() as site, stunnel(site.tactium.port, authority) as port:
        site.use_link(
            LinkSettings(host="localhost", port=port, tls=True, tls_ca_file=tmp_path / "ca.pem")
        )
        async with site.bridge():
            assert (await site.ask({"command": "get_status", "agent": "ana"}))["outcome"] == "ok"


async def test_a_certificate_of_a_stranger_is_refused(open_site: OpenSite) -> None:
    """Without that CA nothing is said to the server, and the log says why."""
    async with open_site() as site, stunnel(site.tactium.port, trustme.CA()) as port:
        site.use_link(LinkSettings(host="localhost", port=port, tls=True))
        with capture_logs() as logs:
            async with site.bridge():
                await until(lambda: any(line["event"] == "link_waiting" for line in logs))
        assert "CERTIFICATE_VERIFY_FAILED" in str(logs)
        assert not site.tactium.received


async def test_a_broker_behind_tls(open_site: OpenSite, tmp_path: Path) -> None:
    """Events and replies reach it, and commands come from there."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    async with open_site() as site:
        plain = URL(site.settings.amqp.url.get_secret_value())
        async with stunnel(plain.port or 0, authority) as port:
            url = plain.with_scheme("amqps").with_host("localhost").with_port(port)
            url = url.update_query(cafile=str(tmp_path / "ca.pem"))
            amqp = AmqpSettings.model_validate({"url": str(url)})
            site.settings = site.settings.model_copy(update={"amqp": amqp})
            async with site.bridge():
                assert (await site.ask({"command": "get_status", "agent": "ana"}))[
                    "outcome"
                ] == "ok"
                assert (await site.next_data("ana.agent.status"))["agent"] == "ana"
