"""The command line (contract.md §9).

Exit codes: 0 done, 1 the thing failed, 2 wrong usage or settings.
"""

from bridge.cli.program import main

__all__ = ["main"]
