"""CPU time that the suite has used, process by process."""

from collections import Counter

import psutil

from services.suite.supervisor import Suite


def used(suite: Suite) -> Counter[str]:
    """Seconds so far by service, the servers brought along among them, each with all its descendants. Those that have
    ended meanwhile count too: their parent has their time. The sandbox shop and the supervisor are left out: the one
    stands for a platform, the other is the benchmark's own process, and only waits."""
    processes = {service.name: suite.process(service.name) for service in suite.services}
    for name, server in (("PostgreSQL", suite.postgres), ("Valkey", suite.valkey)):
        if server is not None and server.process is not None:
            processes[name] = server.process
    return Counter({name: _seconds(process.pid) for name, process in processes.items()})


def spent(before: Counter[str], after: Counter[str]) -> Counter[str]:
    """Seconds between two looks."""
    return Counter({name: after[name] - before[name] for name in after})


def by_event(seconds: Counter[str], events: int) -> str:
    """The split in microseconds an event, the largest first, for the details; below 0.5 µs left out."""
    shares = [(name, one / events * 1e6) for name, one in seconds.most_common()]
    return ", ".join(f"{name} {share:.0f}" for name, share in shares if share >= 0.5) + " µs"


def _seconds(pid: int) -> float:
    root = psutil.Process(pid)
    seconds = 0.0
    for process in (root, *root.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            # Ended since it was listed: its parent has its time by the next look.
            continue
        seconds += times.user + times.system + times.children_user + times.children_system
    return seconds
