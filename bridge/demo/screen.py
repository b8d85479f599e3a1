"""What the demo shows: two columns on a terminal, plain lines off it.

No phone number is shown, here as everywhere.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

_GOOD = frozenset(("ok", "sent"))
_MOST_LINES = 200
_ROWS_AROUND = 8  # of the screen's height: borders, title and status


class Screen:
    """Shows what flows, and counts it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._events: deque[Text] = deque(maxlen=_MOST_LINES)
        self._talk: deque[Text] = deque(maxlen=_MOST_LINES)
        self.events: Counter[str] = Counter()
        self.commands = 0
        self.replies: Counter[str] = Counter()

    def say(self, text: str) -> None:
        """Say what happens now."""
        self._console.print(text, highlight=False)

    @contextmanager
    def flowing(self) -> Iterator[None]:
        """Show events and commands side by side for as long as they flow."""
        if not self._console.is_terminal:
            yield
            return
        with Live(self._panels(), console=self._console, refresh_per_second=8) as self._live:
            yield

    def event(self, routing_key: str, data: dict[str, Any]) -> None:
        """Show one event."""
        kind = routing_key.partition(".")[2]
        self.events[kind] += 1
        if not kind.startswith("command."):  # the audit trail only repeats the replies
            self._show("event", self._events, _event_text(routing_key, data))

    def command(self, asked: dict[str, Any]) -> None:
        """Show one command."""
        self.commands += 1
        text = Text.assemble("→ ", (asked["command"], "bold"), f" {asked.get('agent', '')}")
        self._show("command", self._talk, text)

    def reply(self, reply: dict[str, Any]) -> None:
        """Show one reply."""
        outcome = reply["outcome"]
        self.replies[outcome] += 1
        style = "green" if outcome in _GOOD else "yellow"
        text = Text.assemble("← ", (outcome, style), f" {reply['command']} {_reply_words(reply)}")
        self._show("reply", self._talk, text)

    def summary(self) -> None:
        """Say what has flowed."""
        self.say(f"\n{self.events.total()} events received:")
        for kind, count in sorted(self.events.items()):
            self.say(f"  {count:5} {kind}")
        self.say(f"{self.commands} commands sent, {self.replies.total()} replies received:")
        for outcome, count in sorted(self.replies.items()):
            self.say(f"  {count:5} {outcome}")

    def _show(self, kind: str, column: deque[Text], text: Text) -> None:
        now = f"{datetime.now().astimezone():%H:%M:%S}"
        if self._live is None:
            self._console.print(f"{now} {kind:8}", text, highlight=False, soft_wrap=True)
            return
        column.append(Text.assemble((f"{now} ", "dim"), text))
        self._live.update(self._panels())

    def _panels(self) -> Group:
        rows = max(3, self._console.height - _ROWS_AROUND)
        table = Table.grid(expand=True)
        table.add_column(ratio=3)
        table.add_column(ratio=2)
        table.add_row(
            _panel("events, as a subscriber receives them", self._events, rows),
            _panel("commands and replies", self._talk, rows),
        )
        status = (
            f"{self.events.total()} events · {self.commands} commands · "
            f"{self.replies.total()} replies · Ctrl-C ends"
        )
        return Group(table, Text(status, style="dim"))


def _panel(title: str, column: deque[Text], rows: int) -> Panel:
    lines = Text("\n", no_wrap=True, overflow="ellipsis").join(list(column)[-rows:])
    return Panel(lines, title=title, height=rows + 2)


def _event_text(routing_key: str, data: dict[str, Any]) -> Text:
    words = [str(data[name]) for name in ("status", "reason") if name in data]
    if data.get("call_id"):
        words.append(f"call …{data['call_id'][-6:]}")
    if data.get("duration_seconds") is not None:
        words.append(f"after {data['duration_seconds']:.1f} s")
    return Text.assemble((routing_key, "cyan"), " ", " ".join(words))


def _reply_words(reply: dict[str, Any]) -> str:
    if reply["error"]:
        details = [f"{flaw['field']} {flaw['reason']}" for flaw in reply["error"]["details"]]
        return "; ".join(details) or str(reply["error"]["message"])
    match reply["data"]:
        case {"status": status}:
            return str(status)
        case {"agents": agents}:
            return f"{len(agents)} agents known"
        case {"call_id": str(call_id)}:
            return f"call …{call_id[-6:]}"
    return ""
