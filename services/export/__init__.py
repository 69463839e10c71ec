"""Gives events out: `servicer` and `query_servicer` (gRPC) → `formats` (pure rules) → `store` (SQL)."""
