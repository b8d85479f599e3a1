"""The kinds of field that several messages share, each with what a schema says of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

Agent = Annotated[str, Field(description="The agent's canonical name: the casefolded login.")]

CallId = Annotated[
    str, Field(description="The bridge's id of the call, the same in all its events.")
]

StatusCode = Annotated[int, Field(description="What the agent is doing, as a number (§4.6).")]

StatusName = Annotated[
    Literal["logged_out", "available", "paused", "busy", "wrap_up", "unknown"],
    Field(description="What the agent is doing; `unknown` where the manual has no word for it."),
]

Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""A time: RFC 3339, UTC, microseconds."""

Seconds = Annotated[float, Field(ge=0, json_schema_extra={"x-unit": "s"})]
