"""The contract as files, for whoever changes a message."""

from __future__ import annotations

from pathlib import Path

import click

from bridge import contract
from bridge.errors import ContractError


@click.command("schemas")
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("schemas"),
    show_default=True,
    help="Where they are, or will be.",
)
@click.option("--check", "only_check", is_flag=True, help="Write nothing; fail where one differs.")
def schemas_command(folder: Path, *, only_check: bool) -> None:
    """Write the JSON Schemas of all messages, and an AsyncAPI document.

    With --check, exits 1 where a file differs, is missing or is extra.
    """
    if not only_check:
        click.echo(f"{len(contract.write(folder))} files written below {folder}")
        return
    found = contract.differences(folder)
    for line in found:
        click.echo(line, err=True)
    if found:
        raise ContractError(f"write them anew: tactium-bridge schemas --dir {folder}")
