"""Takes events in: `servicer` (gRPC) → `mapping` (pure rules) → `committer` (group commit) → `store` (SQL)."""
