"""Fixtures for the page."""

from __future__ import annotations

from tests.integration.conftest import vhost_url

__all__ = ["vhost_url"]
