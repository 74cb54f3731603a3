"""The vulnerability audit of ``make check``, with and without a reachable database."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

AUDIT = Path(__file__).parents[2] / ".ci" / "audit.py"

VULNERABLE = {
    "vulns": [
        {
            "id": "GHSA-1234-5678-9012",
            "aliases": ["CVE-2026-0001"],
            "details": "Anything may happen.",
            "affected": [
                {
                    "package": {"ecosystem": "PyPI", "name": "example"},
                    "ranges": [
                        {
                            "type": "ECOSYSTEM",
                            "events": [{"introduced": "0"}, {"fixed": "1.1"}],
                        }
                    ],
                    "versions": ["1.0"],
                }
            ],
        }
    ]
}


class Osv(BaseHTTPRequestHandler):
    """A vulnerability database with one entry."""

    def do_POST(self) -> None:
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        found = query["package"]["name"] == "example" and query["version"] == "1.0"
        data = json.dumps(VULNERABLE if found else {}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def osv() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Osv) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}/v1/query"
        made.shutdown()
        thread.join()


def audit(folder: Path, url: str, packages: str, exceptions: str = "") -> tuple[int, str]:
    (folder / "lock").write_text(packages)
    (folder / "exceptions.toml").write_text(exceptions)
    files = [f"--requirements={folder / 'lock'}", f"--exceptions={folder / 'exceptions.toml'}"]
    command = [sys.executable, str(AUDIT), *files, f"--osv-url={url}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, (done.stdout + done.stderr).strip()


def test_packages_without_a_known_vulnerability_pass(tmp_path: Path, osv: str) -> None:
    status, output = audit(tmp_path, osv, "example==1.1\nother==2.0\n")
    assert (status, output) == (0, "audit: 2 packages, no known vulnerability, 0 accepted")


def test_a_known_vulnerability_fails(tmp_path: Path, osv: str) -> None:
    status, output = audit(tmp_path, osv, "example==1.0\nother==2.0\n")
    assert status == 1
    assert output.startswith("audit: example 1.0: CVE-2026-0001 GHSA-1234-5678-9012")
    assert "fixed in 1.1" in output


@pytest.mark.parametrize("name", ["CVE-2026-0001", "GHSA-1234-5678-9012"])
def test_vulnerability_accepted_with_a_reason_passes(tmp_path: Path, osv: str, name: str) -> None:
    status, output = audit(tmp_path, osv, "example==1.0\n", f'{name} = "It is not called."\n')
    assert (status, output) == (0, "audit: 1 packages, no known vulnerability, 1 accepted")


def test_an_exception_needs_a_reason(tmp_path: Path, osv: str) -> None:
    status, output = audit(tmp_path, osv, "example==1.0\n", 'CVE-2026-0001 = ""\n')
    assert status == 1
    assert output.endswith("gives no reason for CVE-2026-0001.")


def test_an_exception_that_matches_no_package_fails(tmp_path: Path, osv: str) -> None:
    status, output = audit(tmp_path, osv, "example==1.1\n", 'CVE-2026-0001 = "It is not called."\n')
    assert status == 1
    assert "CVE-2026-0001 is accepted, but no locked package has it" in output


def test_unreachable_database_is_reported_in_one_line(tmp_path: Path) -> None:
    status, output = audit(tmp_path, "http://127.0.0.1:9/v1/query", "example==1.0\n")
    assert status == 0
    assert output.startswith("audit: skipped, no vulnerability database can be reached (osv: ")
    assert len(output.splitlines()) == 1


def test_invalid_lock_file_fails(tmp_path: Path, osv: str) -> None:
    status, output = audit(tmp_path, osv, "example 1.0 is not a requirement\n")
    assert status == 1
    assert output.startswith("audit: pip-audit failed: ")
