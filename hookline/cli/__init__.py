"""The command `hookline`: events in and out from the shell, by way of `hookline.client`."""

import os

# gRPC's core otherwise writes lines of its own to stderr when a server goes away, where ours are sentences or JSON.
# It reads this when it is loaded, so that it must come first; whoever sets it still gets what they ask for.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from hookline.cli.app import main

__all__ = ["main"]
