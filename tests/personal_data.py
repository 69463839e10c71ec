"""Nothing that the services log under the tests may hold personal data: all of it is looked through, and a run in which
some is found fails.

Looked through are what each test's services wrote to stdout and stderr, in this process and in others, and every log
file of the run, what each PostgreSQL said among them. The persons are made up; their addresses and documents are known
by their form, their names from the samples.
"""

import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote_plus

import pytest

from services.suite import samples, welcome
from tests.platform_samples import SAMPLES

_NAMES = ("Ana Conceição", "Ana Souza", "Davi Dourado", "Davi Lembrado", "Beatriz Esquecida", "Rui Prates")
_FORMS = (
    # E-mail, CPF, CNPJ, a mobile number of Brazil, a Pix code.
    r"[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.[a-z]{2,}",
    r"(?<!\d)\d{3}\.\d{3}\.\d{3}-\d{2}(?!\d)",
    r"(?<!\d)\d{2}\.\d{3}\.\d{3}/\d{4}-\d{2}(?!\d)",
    r"(?:\+55 ?\(?[1-9]{2}\)?|\([1-9]{2}\)) ?9\d{4}[- ]?\d{4}(?!\d)",
    r"(?<![\w.:-])(?:55)?[1-9]{2}9\d{8}(?![\w.:-])",
    r"000201\d{2}.{4,}br\.gov\.bcb\.pix",
)
_escape = re.compile(r"\\+u([0-9a-fA-F]{4})")


@cache
def _pattern() -> re.Pattern[str]:
    titles = (
        re.findall(r'^customer_name = "(.+ .+)"', path.read_text("utf-8"), re.M) for path in SAMPLES.rglob("*.toml")
    )
    names = {*_NAMES, *(name for found in titles for name in found)}
    names |= {f"{first} {last}" for first in samples.FIRST_NAMES.split() for last in samples.LAST_NAMES.split()}
    return re.compile("|".join([*map(re.escape, sorted(names)), *_FORMS]), re.IGNORECASE)


def found_in(text: str) -> Iterator[tuple[str, str]]:
    """Personal data in a text: what it is, and the line that holds it."""
    for line in text.splitlines():
        plain = _escape.sub(lambda found: chr(int(found[1], 16)), line)
        for way in {plain, unquote_plus(plain)}:
            if match := _pattern().search(way):
                yield match[0], line
                break


class Watch:
    """Looks through what is logged under a run."""

    def __init__(self) -> None:
        self.leaks: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """What a test's services said. A test that fails shows what it likes."""
        if not report.failed:
            for title, text in report.sections:
                self._note(f"{report.nodeid}, {title}", text)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """What services of their own processes wrote to files."""
        base = getattr(session.config, "_tmp_path_factory").getbasetemp()  # noqa: B009 - pytest has no other way
        for path in logs_under(base):
            self._note(str(path), path.read_text("utf-8", errors="replace"))
        if self.leaks and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Tells the places."""
        if self.leaks:
            terminalreporter.section("personal data in logs", red=True)
            for leak in self.leaks[:50]:
                terminalreporter.write_line(leak)

    def _note(self, place: str, text: str) -> None:
        # The suite shows its operator an event to send in, with a made-up customer.
        found = found_in(text.replace(welcome._SAMPLE, ""))
        self.leaks += [f"{place}: {what!r} in {line[:300]}" for what, line in found]


def logs_under(folder: Path) -> Iterable[Path]:
    """The log files that a run has left, all workers'."""
    return [path for path in sorted(folder.rglob("*.log*")) if path.is_file() and not path.is_symlink()]
