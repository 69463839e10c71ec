"""The list of what the image is made of, and what is made of pip-audit's report."""

import json
import re
from pathlib import Path

import pytest

from tests import supply_chain
from tests.supply_chain import IMAGE_LOCK, bill, read_lock, verdict


def test_every_package_of_every_lock_is_pinned_by_digest() -> None:
    locks = [*supply_chain.ROOT.glob("*.lock"), *supply_chain.ROOT.glob("deploy/*.lock")]
    assert len(locks) == 4
    for lock in locks:
        assert read_lock(lock.read_text(encoding="utf-8")), lock


@pytest.mark.parametrize("line", ["aiohttp>=3", "aiohttp", "aiohttp @ https://example.com/a.whl"])
def test_what_is_not_pinned_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="not pinned"):
        read_lock(line)


def test_what_is_pinned_without_digest_is_refused() -> None:
    with pytest.raises(ValueError, match="not pinned by digest: aiohttp"):
        read_lock("aiohttp==3.1")


def test_the_list_names_all_and_who_needs_them(tmp_path: Path) -> None:
    out = tmp_path / "sbom.json"
    assert supply_chain.main(["sbom", "--out", str(out)]) == 0
    made = json.loads(out.read_text())
    names = re.findall(r"^([a-z0-9-]+)==", IMAGE_LOCK.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert [one["name"] for one in made["components"]] == names
    assert all(one["hashes"] for one in made["components"])
    refs = {one["bom-ref"] for one in made["components"]} | {made["metadata"]["component"]["bom-ref"]}
    assert {one["ref"] for one in made["dependencies"]} == refs
    needs = {one["ref"].partition("@")[0]: one["dependsOn"] for one in made["dependencies"]}
    assert any(other.startswith("pkg:pypi/asyncpg@") for other in needs["pkg:pypi/hookline"])
    assert any(other.startswith("pkg:pypi/yarl@") for other in needs["pkg:pypi/aiohttp"])
    # Nothing but what the lock says goes in: the same again.
    assert bill(read_lock(IMAGE_LOCK.read_text(encoding="utf-8")), made["metadata"]["component"]["version"]) == made


def test_a_report_is_good_bad_or_empty() -> None:
    good = {"name": "a", "version": "1", "vulns": []}
    bad = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}
    unknown = {"name": "c", "skip_reason": "not found"}
    assert verdict({"dependencies": [good, unknown]}) == (True, [])
    assert verdict({"dependencies": [good, bad]}) == (False, ["b 2: PYSEC-1, mended in 3"])
    assert verdict({"dependencies": [unknown]}) == (None, [])
