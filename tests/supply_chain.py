"""What the image is made of: `make sbom` writes it down, `make audit` asks whether any of it is known to be unsafe.

Both go by the hash-locked requirements. The list is CycloneDX, and the same from the same lock.
"""

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).parents[1]
IMAGE_LOCK = ROOT / "requirements-image.lock"
_is_pinned = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)(?:\s*;\s*(.*?))?\s*\\?$").fullmatch
_is_hash = re.compile(r"\s+--hash=sha256:([0-9a-f]{64})\s*\\?").fullmatch
_is_user = re.compile(r"\s+#(?: via)?\s+([A-Za-z0-9._-]+)(?: \(pyproject\.toml\))?").fullmatch


@dataclass
class Pinned:
    """A package of a lock: its files' digests, and which packages need it."""

    name: str
    version: str
    marker: str
    digests: list[str] = field(default_factory=list)
    users: list[str] = field(default_factory=list)

    @property
    def purl(self) -> str:
        return f"pkg:pypi/{self.name}@{self.version}"


def read_lock(text: str) -> list[Pinned]:
    """The packages of a lock. Raises ValueError for one that is not pinned by version and digest."""
    packages: list[Pinned] = []
    for line in text.splitlines():
        if not line.startswith((" ", "#")) and line:
            pinned = _is_pinned(line)
            if pinned is None:
                raise ValueError(f"not pinned: {line}")
            packages.append(Pinned(pinned[1], pinned[2], pinned[3] or ""))
        elif found := _is_hash(line):
            packages[-1].digests.append(found[1])
        elif (found := _is_user(line)) and packages:
            packages[-1].users.append(found[1])
    for one in packages:
        if not one.digests:
            raise ValueError(f"not pinned by digest: {one.name}")
    return packages


def bill(packages: Sequence[Pinned], own_version: str) -> dict[str, Any]:
    """The list of materials, as CycloneDX 1.5."""
    known = {one.name: one.purl for one in packages}
    own = f"pkg:pypi/hookline@{own_version}"
    needs: dict[str, list[str]] = {own: [], **{one.purl: [] for one in packages}}
    for one in packages:
        for user in one.users:
            needs[known.get(user, own)].append(one.purl)
    content = "".join(f"{one.purl} {one.digests}" for one in packages)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.UUID(bytes=hashlib.sha256(content.encode()).digest()[:16], version=4)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": own,
                "name": "hookline",
                "version": own_version,
                "purl": own,
                "licenses": [{"license": {"id": "MIT"}}],
            }
        },
        "components": [
            {
                "type": "library",
                "bom-ref": one.purl,
                "name": one.name,
                "version": one.version,
                "purl": one.purl,
                # One for each file of that version: the lock takes any of them.
                "hashes": [{"alg": "SHA-256", "content": digest} for digest in one.digests],
                **({"properties": [{"name": "hookline:marker", "value": one.marker}]} if one.marker else {}),
            }
            for one in packages
        ],
        "dependencies": [{"ref": ref, "dependsOn": sorted(set(others))} for ref, others in needs.items()],
    }


def verdict(report: dict[str, Any]) -> tuple[bool | None, list[str]]:
    """What pip-audit's report says: whether all is well, None where nothing could be asked; and the findings."""
    asked = [one for one in report["dependencies"] if "skip_reason" not in one]
    found = [
        f"{one['name']} {one['version']}: {each['id']}, mended in {', '.join(each['fix_versions']) or 'no version yet'}"
        for one in asked
        for each in one["vulns"]
    ]
    return (not found if asked else None), found


def _audit(lock: Path) -> int:
    # A lock that is none is a mistake, and not skipped.
    read_lock(lock.read_text(encoding="utf-8"))
    uv = Path(sys.executable).with_name("uv")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "report.json"
        # Fetched when it is needed: it is no part of what is built, and the data it asks for is elsewhere anyway.
        tool = [str(uv), "tool", "run", "--quiet", "pip-audit"]
        options = ["--requirement", str(lock), "--require-hashes", "--disable-pip", "--progress-spinner", "off"]
        try:
            ended = subprocess.run(
                [*tool, *options, "--format", "json", "--output", str(out)],
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
            report = json.loads(out.read_text()) if out.exists() and out.stat().st_size else None
        except (OSError, subprocess.TimeoutExpired) as error:
            click.echo(f"skipped: {type(error).__name__}, pip-audit can't be run here")
            return 0
    if report is None:
        reason = next(reversed(ended.stderr.strip().splitlines()), f"status {ended.returncode}")
        click.echo(f"skipped: pip-audit can't be had or can't reach its data ({reason[:200]})")
        return 0
    is_well, found = verdict(report)
    if is_well is None:
        click.echo("skipped: the data on vulnerabilities can't be reached from here")
        return 0
    for line in found:
        click.echo(line)
    asked = sum("skip_reason" not in one for one in report["dependencies"])
    click.echo(f"{asked} of {len(report['dependencies'])} packages of {lock.name}: {len(found)} known vulnerabilities")
    return 0 if is_well else 1


def _sbom(lock: Path, out: Path) -> int:
    packages = read_lock(lock.read_text(encoding="utf-8"))
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(bill(packages, version("hookline")), indent=1) + "\n", encoding="utf-8")
    click.echo(f"{out.relative_to(ROOT) if out.is_relative_to(ROOT) else out}: {len(packages)} packages")
    return 0


def main(arguments: Sequence[str]) -> int:
    """Does what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("what", choices=["audit", "sbom"])
    parser.add_argument("--lock", type=Path, default=IMAGE_LOCK)
    parser.add_argument("--out", type=Path, default=ROOT / "dist" / "hookline.cdx.json")
    chosen = parser.parse_args(arguments)
    return _audit(chosen.lock) if chosen.what == "audit" else _sbom(chosen.lock, chosen.out)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
