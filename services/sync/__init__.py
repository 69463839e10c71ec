"""Closes gaps from the platforms' own history.

Three processes: `__main__` serves gRPC, `worker` runs runs, `scheduler` finds what is due. A run is a row in
PostgreSQL; Redis only tells workers that there is one.
"""
