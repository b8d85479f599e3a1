"""`python -m bridge` is `tactium-bridge`."""

from bridge.cli import main

main()
