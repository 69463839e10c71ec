"""The look through the logs finds what it is there for, and nothing else."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.personal_data import Watch, found_in, logs_under


@pytest.mark.parametrize(
    "line",
    [
        '{"event": "x", "payload": {"email": "someone@example.com"}}',
        '{"event": "x", "text": "Ana Concei\\u00e7\\u00e3o"}',
        "DETAIL:  Key (dedup_key)=(ana@example.com) already exists.",
        "GET /v1/hooks/x?email=ana%40example.com",
        "customer ana+souza",
        "cpf 123.456.789-09",
        "cnpj 11.222.333/0001-81",
        "phone +5511900000000",
        "phone (11) 90000-0000",
        "00020126360014br.gov.bcb.pix0114+5511900000000",
        "Marina Teste",
        "Célia Brandão",
    ],
)
def test_it_is_found(line: str) -> None:
    [(_, where)] = found_in(f"before\n{line}\nafter")
    assert where == line


@pytest.mark.parametrize(
    "line",
    [
        '{"address": "127.0.0.1:30432", "event": "serving", "timestamp": "2026-11-24T23:18:57.123456Z"}',
        '{"places": ["services/ingest/store.py:49 store_events"], "error": "DataError", "sqlstate": "22P02"}',
        "postgresql://hookline@/test_0123456789abcdef?host=/var/lib/hookline",
        '{"seconds": 0.911900000000, "event_id": "01990000-0000-7000-8000-911900000000"}',
        '{"request_id": "0b5c55990123456789abcdef01234567"}',
    ],
)
def test_nothing_is_found_in_what_services_log(line: str) -> None:
    assert list(found_in(line)) == []


def test_a_run_in_which_something_is_found_fails(tmp_path: Path) -> None:
    for name, text in {"ingest.log": "fine\nmail to ana@example.com", "a/data.txt": "ana@example.com"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert [path.name for path in logs_under(tmp_path)] == ["ingest.log"]
    watch = Watch()
    report: Any = SimpleNamespace(failed=False, nodeid="test_x", sections=[("Captured stdout call", "Marina Teste")])
    watch.pytest_runtest_logreport(report)
    config = SimpleNamespace(_tmp_path_factory=SimpleNamespace(getbasetemp=lambda: tmp_path))
    session: Any = SimpleNamespace(config=config, exitstatus=pytest.ExitCode.OK)
    watch.pytest_sessionfinish(session)
    assert session.exitstatus == pytest.ExitCode.TESTS_FAILED
    assert watch.leaks == [
        "test_x, Captured stdout call: 'Marina Teste' in Marina Teste",
        f"{tmp_path}/ingest.log: 'ana@example.com' in mail to ana@example.com",
    ]
    # This run is looked through, too.
    (tmp_path / "ingest.log").unlink()
