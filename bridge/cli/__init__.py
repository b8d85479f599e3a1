"""The command line (contract.md §9).

Exit codes: 0 done, 1 the thing failed, 2 wrong usage or settings.
"""

from bridge.cli.early import ended_by_signals

__all__ = ["main"]


def main() -> None:
    """Run the command line; every failure is one line and an exit code."""
    with ended_by_signals():
        from bridge.cli import program  # noqa: PLC0415 - a signal may come while it is imported
    program.main()
