"""What holds for every test: a clean environment, and properties tried with the same examples each time."""

import itertools
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from services.suite.postgres_place import PostgresPlace, remove_place
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


@pytest.fixture(scope="session", autouse=True)
def server_logs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a PostgreSQL server has logged stays when its data goes: to be looked through with all other logs."""
    folder = tmp_path_factory.mktemp("server_logs")
    numbers = itertools.count()

    def keep_and_remove(place: PostgresPlace, data_dir: Path) -> None:
        for log in place.home.glob("*.log*"):
            shutil.copyfile(log, folder / f"{next(numbers)}-{log.name}")
        remove_place(place, data_dir)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("services.suite.embedded_postgres.remove_place", keep_and_remove)
        yield
