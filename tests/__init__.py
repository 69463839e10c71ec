"""Unit, integration and end-to-end tests, and the soak."""

import os

# As in `services`: processes are started while gRPC is at work.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
