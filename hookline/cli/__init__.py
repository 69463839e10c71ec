"""The command `hookline`: events in and out from the shell, by way of `hookline.client`."""

from hookline.cli.app import main

__all__ = ["main"]
