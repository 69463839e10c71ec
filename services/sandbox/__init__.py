"""The sandbox shop: a made-up shop, to pull from in the forms of several platforms and to fail on purpose.

A tool for development: the demo, the tests and the benchmarks. It keeps everything in memory, is reached from this
machine only, and anyone who reaches it may steer it.
"""
