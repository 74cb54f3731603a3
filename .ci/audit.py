"""Look up the locked packages in a vulnerability database; used by ``make check``.

    python .ci/audit.py [--requirements requirements.lock] [--exceptions .ci/audit-exceptions.toml]

Exits with status 1 for a known vulnerability without an entry in the exceptions, and for an entry
that matches no vulnerability. If no database can be reached, it prints a line and exits with status
0. It only queries databases: nothing is downloaded or installed.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT_S = 300
UNREACHABLE = re.compile(
    r"ConnectionError|ConnectTimeout|ReadTimeout|NameResolutionError|ProxyError|SSLError|"
    r"Max retries exceeded|ServiceError|HTTPError|Temporary failure"
)


class Unreachable(Exception):
    """A database cannot be reached, or has no data about these packages."""


@dataclass(frozen=True, order=True)
class Vulnerability:
    """A known vulnerability of a locked package; `ids` includes aliases, such as a CVE."""

    package: str
    version: str
    ids: tuple[str, ...]
    fixed_in: tuple[str, ...]

    def __str__(self) -> str:
        fix = f"fixed in {', '.join(self.fixed_in)}" if self.fixed_in else "no fix yet"
        return f"{self.package} {self.version}: {' '.join(self.ids)} ({fix})"


def query(requirements: Path, service: Sequence[str]) -> tuple[list[Vulnerability], int]:
    """Query a service for vulnerabilities of the packages in a file.

    Args:
        requirements: A file of ``name==version`` lines.
        service: The arguments of pip-audit that name the service.

    Returns:
        The vulnerabilities, and the number of packages that the service has data about.

    Raises:
        Unreachable: If the service does not answer, or has data about none of the packages.
    """
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(requirements)]
    command += ["--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json"]
    try:
        process = subprocess.run(
            [*command, *service], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as exc:
        raise Unreachable(f"no answer in {TIMEOUT_S} s") from exc
    last_line = (process.stderr.strip().splitlines() or ["no output"])[-1]
    try:
        packages: list[dict[str, Any]] = json.loads(process.stdout)["dependencies"]
    except (ValueError, LookupError):
        if match := UNREACHABLE.search(process.stderr):
            raise Unreachable(match.group()) from None
        raise SystemExit(f"audit: pip-audit failed: {last_line}") from None
    audited = [package for package in packages if "skip_reason" not in package]
    if not audited:
        raise Unreachable("it has no data about any of the packages")
    vulnerabilities = [
        Vulnerability(
            package["name"],
            package["version"],
            (vuln["id"], *vuln.get("aliases", ())),
            tuple(vuln.get("fix_versions", ())),
        )
        for package in audited
        for vuln in package["vulns"]
    ]
    return sorted(vulnerabilities), len(audited)


def read_exceptions(path: Path) -> dict[str, str]:
    """Read the accepted vulnerabilities, each with its reason."""
    if not path.exists():
        return {}
    reasons = {str(key): str(value) for key, value in tomllib.loads(path.read_text()).items()}
    for name, reason in reasons.items():
        if not reason.strip():
            raise SystemExit(f"audit: {path} gives no reason for {name}.")
    return reasons


def main(argv: Sequence[str] | None = None) -> int:
    """Audit the locked packages and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requirements", type=Path, default=ROOT / "requirements.lock")
    parser.add_argument("--exceptions", type=Path, default=ROOT / ".ci" / "audit-exceptions.toml")
    parser.add_argument("--osv-url", help="ask this server of the OSV API only")
    args = parser.parse_args(argv)
    accepted = read_exceptions(args.exceptions)
    services = [["--vulnerability-service", "pypi"], ["--vulnerability-service", "osv"]]
    if args.osv_url:
        services = [["--vulnerability-service", "osv", "--osv-url", args.osv_url]]
    reasons = []
    for service in services:
        try:
            found, known = query(args.requirements, service)
        except Unreachable as exc:
            reasons.append(f"{service[1]}: {exc}")
        else:
            return report(found, known, accepted)
    print(f"audit: skipped, no vulnerability database can be reached ({'; '.join(reasons)})")
    return 0


def report(found: Sequence[Vulnerability], known: int, accepted: dict[str, str]) -> int:
    """Print the result and return the exit status."""
    unaccepted = [one for one in found if accepted.keys().isdisjoint(one.ids)]
    stale = accepted.keys() - {name for one in found for name in one.ids}
    for one in unaccepted:
        print(f"audit: {one}")
    for name in sorted(stale):
        print(f"audit: {name} is accepted, but no locked package has it: delete its entry")
    if not unaccepted and not stale:
        print(f"audit: {known} packages, no known vulnerability, {len(found)} accepted")
    return 1 if unaccepted or stale else 0


if __name__ == "__main__":
    sys.exit(main())
