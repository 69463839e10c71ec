"""What a caller installs: the client, the CLI and the stubs, and nothing of the services."""

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    [file] = folder.glob("*.whl")
    return file


def test_it_holds_only_what_callers_need(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"hookline"}
    assert "hookline/py.typed" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert "hookline/ingest/v1/ingest_service_pb2_grpc.pyi" in names


def test_it_works_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    # -S leaves out the .pth file by which the checkout is importable; what else is installed stays.
    program = (
        f"import sys; sys.path[:0] = [{str(wheel)!r}, {sysconfig.get_path('purelib')!r}];"
        "import hookline.client, hookline.cli;"
        "assert '.whl' in hookline.__file__, hookline.__file__;"
        "assert not [name for name in sys.modules if name.split('.')[0] in ('services', 'shared', 'asyncpg')];"
        "sys.argv = ['hookline', '--help']; hookline.cli.main()"
    )
    command = [sys.executable, "-I", "-S", "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "export" in done.stdout
