"""The suite where every call needs a token: what it says to paste is enough to get going."""

import asyncio
import re
from asyncio.subprocess import PIPE, STDOUT

from tests.e2e.test_suite import Operator, operator

__all__ = ["operator"]


async def pasted(operator: Operator, *lines: str) -> tuple[int, str]:
    """Runs lines in a shell, as someone in the suite's folder does."""
    shell = await asyncio.create_subprocess_exec(
        "bash", "-c", "\n".join(("set -e", *lines)), cwd=operator.cwd, stdout=PIPE, stderr=STDOUT
    )
    said, _ = await asyncio.wait_for(shell.communicate(), 60)
    return shell.returncode or 0, said.decode()


async def test_the_commands_that_it_prints_work(operator: Operator) -> None:
    await operator.up(HOOKLINE_REQUIRE_TOKENS="true")
    said = operator.output.read_text()
    commands = [line.strip() for line in said.splitlines() if line.startswith("  ")]
    [make_token] = [line for line in commands if line.startswith("export HOOKLINE_TOKEN=")]
    [list_them] = [line for line in commands if re.search(r"hookline list ", line)]
    door = [line for line in commands if line.startswith(("URL=", "curl "))]
    status, answer = await pasted(operator, list_them)
    assert (status, "asks for a token" in answer) == (5, True)
    status, answer = await pasted(operator, make_token, *door, list_them)
    assert status == 0, answer
    assert '"outcome":"accepted"' in answer.replace(" ", "")
    assert "pix_created" in answer
    # What was pasted is in no process's log.
    assert "hk_demo." not in operator.output.read_text()
