"""The sandbox shop: a made-up shop with a history in Grapfy's format, to pull from and to fail on purpose.

A tool for development: the demo, the tests and the benchmarks. It keeps everything in memory, is reached from this
machine only, and anyone who reaches it may steer it.
"""
