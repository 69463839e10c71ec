"""Hookline's services, and the suite that runs them on one machine."""

import os

# Before anything imports gRPC. The supervisor starts processes while gRPC is at work in it, as root as another user,
# which takes a true fork(). gRPC's handlers would then run in the child before it becomes its program: there they have
# crashed it, and meddled with the parent's epoll.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
# Nor does it write lines of its own, among ours, of each stranger who speaks no TLS.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
