"""What holds for every test: a clean environment, and properties tried with the same examples each time."""

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

from tests.personal_data import Watch

# The operator's own settings must not steer the tests.
for _name in [name for name in os.environ if name.startswith("HOOKLINE_")]:
    del os.environ[_name]

# A shell that starts a command in the background has it ignore Ctrl-C, and its children too; some tests send one.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile(
    "tests",
    derandomize=True,
    deadline=None,
    print_blob=True,
    # Two workers on two cores: how long an example takes says nothing. A test's database serves all its examples,
    # each with a company of its own.
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("tests")


def pytest_configure(config: pytest.Config) -> None:
    """One process looks through all logs: that which hears of all tests."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Watch())
