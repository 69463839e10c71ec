"""Hookline, the system of record for webhook events: what a caller installs.

`hookline.client` to program against, `hookline.cli` for the shell, and under them the gRPC stubs of each package
(`hookline.ingest.v1`, `hookline.export.v1`, `hookline.events.v1`).
"""
