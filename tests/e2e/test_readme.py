"""The README's examples do what it says, run as they stand there."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from services.suite.embedded_postgres import EmbeddedPostgres
from services.suite.ports import free_address
from services.suite.supervisor import Suite
from shared.settings import Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# One suite for all, each acting for a company of its own.
pytestmark = pytest.mark.asyncio(loop_scope="module")

PATH = 'export PATH="$PWD/.venv/bin:$PATH"\n'
"""What the first example has set for the following ones."""


def example(language: str, after: str) -> str:
    """The first example in a language after a piece of the README's text."""
    match = re.search(rf"```{language}\n(.*?)```", README[README.index(after) :], re.DOTALL)
    assert match
    return match[1]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def suite(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Suite]:
    data_dir = tmp_path_factory.mktemp("suite") / "data"
    settings = Settings(
        data_dir=data_dir,
        ingest_address=free_address(),
        http_address=free_address(),
        sync_address=free_address(),
        export_address=free_address(),
        sandbox_address=free_address(),
        allow_loopback_sources=True,
    )
    try:
        async with Suite(settings, embedded=True) as running:
            yield running
    finally:
        await EmbeddedPostgres(data_dir).destroy()


def run(command: list[str], suite: Suite, folder: Path, company: str = "acme") -> str:
    """Runs a command for a company, in a folder of its own, where `.venv` is the one that runs this test."""
    if not (folder / ".venv").exists():
        (folder / ".venv").symlink_to(sys.prefix)
    environment = os.environ | {
        "HOOKLINE_INGEST_ADDRESS": suite.addresses["ingest"],
        "HOOKLINE_SYNC_ADDRESS": suite.addresses["sync"],
        "HOOKLINE_EXPORT_ADDRESS": suite.addresses["export"],
        "HOOKLINE_COMPANY": company,
    }
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_the_examples_of_the_command_line_and_of_python(suite: Suite, tmp_path: Path) -> None:
    folder = tmp_path / "reader"
    folder.mkdir()
    out = run(["bash", "-euo", "pipefail", "-c", example("sh", "A test runs these")], suite, folder)
    assert "0 accepted, 2 duplicate" in out
    exported = (folder / "events.csv").read_text(encoding="utf-8").splitlines()
    assert exported[0].startswith("event_id,type,customer_name,product_name,total,currency,source,status,occurred_time")
    assert len(exported) == 3
    assert "pix_created,Ana Souza,Curso de Violão,197.90,BRL,grapfy,pending" in exported[1]

    run([sys.executable, "-c", example("python", "In Python")], suite, folder)
    assert len((folder / "events.csv").read_text(encoding="utf-8").splitlines()) == 4

    out = run(["bash", "-euo", "pipefail", "-c", PATH + example("sh", "And these, out of")], suite, folder)
    # Two of a search, two of another, and of each type one sum.
    assert out.count("\torder_approved\tgrapfy\tAna Souza") == out.count("\tpix_created\tgrapfy\tAna Souza") == 2
    assert "pix_created\t1\t197.90 BRL" in out
    sold = (folder / "vendas.csv").read_text(encoding="utf-8-sig").splitlines()
    assert sold[0].startswith("ID do evento;Tipo;Cliente;Produto;Total;Moeda;Origem;Situação;Ocorrido em")
    assert "pix_created;Ana Souza;Curso de Violão;197,90;BRL;grapfy;pendente;" in sold[1]
    assert len((folder / "events.ndjson").read_text(encoding="utf-8").splitlines()) == 3
    assert not list(folder.glob("*.part*"))


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_the_examples_of_webhooks_over_http(suite: Suite, tmp_path: Path) -> None:
    out = run(["bash", "-euo", "pipefail", "-c", PATH + example("sh", "And these")], suite, tmp_path, "bolt")
    assert '"outcome":"accepted"' in out
    assert '"outcome":"quarantined"' in out
    assert "order_approved\tshop-web\tDavi Dourado" in out
    assert "shop-web\tTYPE_MISSING" in out


async def test_the_examples_of_sync(suite: Suite, tmp_path: Path) -> None:
    script = example("sh", "These, too").replace("127.0.0.1:8090", suite.addresses["sandbox"])
    out = run(["bash", "-euo", "pipefail", "-c", PATH + script], suite, tmp_path, "cove")
    assert re.search(r"succeeded\. 10,000 events on \d+ pages: 10,000 new, 0 duplicate", out)


@pytest.mark.skipif(shutil.which("grpcurl") is None, reason="grpcurl is not installed")
async def test_the_example_of_grpcurl(suite: Suite, tmp_path: Path) -> None:
    script = (
        example("sh", "Any gRPC client works")
        .replace("127.0.0.1:50051", suite.addresses["ingest"])
        .replace("acme", "dune")
    )
    assert "OUTCOME_ACCEPTED" in run(["bash", "-euo", "pipefail", "-c", script], suite, tmp_path)
