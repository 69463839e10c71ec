"""Malformed webhooks by the thousand, made up from a seed, and what must hold whatever comes: `run.fuzz` is the run,
`cases` makes up what is sent, `over_grpc` and `over_http` send it."""
