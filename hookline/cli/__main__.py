"""`python -m hookline.cli` is `hookline`."""

from hookline.cli.app import main

main()
