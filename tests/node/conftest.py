"""A site, as the tests in `integration` have it."""

from __future__ import annotations

from tests.integration.conftest import default_tactium, open_site, site, vhost_url

__all__ = ["default_tactium", "open_site", "site", "vhost_url"]
