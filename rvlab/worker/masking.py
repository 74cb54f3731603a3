"""Mask secrets in logs and records: environment variables, and texts in the form of a secret.

The value of an environment variable is a secret if the variable's name says so (`is_secret`). It is
masked wherever it occurs, also URL-encoded, JSON-escaped or in base64. A password in a URL, a
private key in PEM, a JWT and a token with a known prefix are masked by their form (`PATTERNS`),
whatever their source.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from urllib.parse import quote, quote_plus, unquote, urlsplit

from rvlab.store import S3Access, Store
from rvlab.store.addresses import path_exists

MASK = "[secret]"

MIN_LENGTH = 8
"""Minimum length of a secret, in characters; a shorter value occurs in any log by chance."""

MIN_LINE = 16
"""Minimum length of a line of a multi-line secret to be masked by itself, in characters."""

# Words in the name of a variable with which its value is a secret.
_STRONG = re.compile(
    r"(TOKEN|PASSWORD|PASSWD|PASSPHRASE|SECRET|CREDENTIAL)S?$|^(SECRET|PASSWORD|PASSWD)|"
    r"(API|ACCESS|SECRET|PRIVATE|AUTH|ENCRYPTION|SIGNING|ACCOUNT)KEYS?$"
)
_STRONG_KEY = re.compile(r"(API|ACCESS|SECRET|PRIVATE|ENCRYPTION|SIGNING|ACCOUNT)_KEYS?$")
# Words that harmless variables have too: the value must also be long, and not plain words.
_WEAK = frozenset(
    ("KEY", "KEYS", "AUTH", "AUTHORIZATION", "BEARER", "PASS", "PWD", "DSN", "COOKIE", "JWT", "SAS")
)
_WEAK_MIN_LENGTH = 12
_HARMLESS_NAMES = frozenset(
    ("PWD", "OLDPWD", "SSH_AUTH_SOCK", "XAUTHORITY", "TOKENIZERS_PARALLELISM")
)
_HARMLESS_END = re.compile(
    r"_(FILE|FILES|PATH|PATHS|DIR|SOCK|SOCKET|HOME|TIMEOUT|TTL|TYPE|MODE|METHOD|METHODS|ENABLED|"
    r"DISABLED|LENGTH|SIZE|LIMIT|COUNT|EXPIRATION|EXPIRES|EXPIRES_IN|EXPIRES_AT|URL|URI|ENDPOINT|"
    r"HOST|PORT|USER|USERNAME|BACKEND|PROVIDER|PROVIDERS|LAYOUT|THEME|PARALLELISM|NAME)$"
)
_HARMLESS_VALUES = re.compile(
    "true|false|none|null|undefined|default|enabled|disabled|required|optional|anonymous|"
    "localhost|insecure|postgres|password",
    re.IGNORECASE,
)
_WORDS = re.compile(r"[A-Za-z]+([-_. :/][A-Za-z]+)*")
_NUMBER = re.compile(r"[0-9][0-9.,:_-]*")

_URL_PASSWORD = rb"(?P<keep>[A-Za-z][A-Za-z0-9+.-]*://[^\s/@:'\"<>]*:)[^\s/'\"<>]+(?=@)"
_PEM = rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)"

PATTERNS: Mapping[bytes, re.Pattern[bytes]] = {
    b"://": re.compile(_URL_PASSWORD),
    b"PRIVATE KEY-----": re.compile(_PEM, re.DOTALL),
    b"eyJ": re.compile(rb"\beyJ[\w-]{6,}\.eyJ[\w-]{6,}\.[\w-]{6,}"),
    b"AKIA": re.compile(rb"\bAKIA[A-Z0-9]{16}\b"),
    b"ASIA": re.compile(rb"\bASIA[A-Z0-9]{16}\b"),
    b"AIza": re.compile(rb"\bAIza[\w-]{35}"),
    b"gh": re.compile(rb"\bgh[opusr]_[A-Za-z0-9]{20,}"),
    b"github_pat_": re.compile(rb"\bgithub_pat_\w{20,}"),
    b"glpat-": re.compile(rb"\bglpat-[\w-]{20,}"),
    b"xox": re.compile(rb"\bxox[abeprs]-[\w-]{10,}"),
    b"hf_": re.compile(rb"\bhf_[A-Za-z0-9]{20,}"),
    b"sk-": re.compile(rb"\bsk-[\w-]{20,}"),
    b"pypi-": re.compile(rb"\bpypi-[\w-]{30,}"),
    b"npm_": re.compile(rb"\bnpm_[A-Za-z0-9]{30,}"),
    b"dckr_pat_": re.compile(rb"\bdckr_pat_[\w-]{20,}"),
    b"uthorization": re.compile(
        rb"(?P<keep>[Aa]uthorization['\"]?\s*[:=]\s*b?['\"]?(?:[Bb]earer|[Bb]asic|[Tt]oken)\s+)"
        rb"[^\s'\",;]+"
    ),
    b"ignature=": re.compile(rb"(?P<keep>[Ss]ignature=)[A-Za-z0-9%/+=_-]{16,}"),
    b"X-Amz-": re.compile(rb"(?P<keep>X-Amz-(?:Security-Token|Credential)=)[^\s&'\"]+"),
    b"sig=": re.compile(rb"(?P<keep>[?&]sig=)[^\s&'\"]{16,}"),
}
"""Patterns of secrets, by a literal substring that is searched first; the group ``keep`` is not
masked."""


def mask_bytes(data: bytes, store: Store | None = None) -> bytes:
    """Mask the secrets of the environment and of a store in a log.

    A secret that is truncated at the start or the end of `data` is masked if at least `MIN_LENGTH`
    bytes of it are left.

    Args:
        data: Complete lines; see `complete_length`.
        store: The store whose credentials are masked as well.
    """
    access = getattr(store, "access", None)
    forms = _all_forms(frozenset(os.environ.items()), _secrets_of(access))
    for form in forms:
        data = data.replace(form, MASK.encode())
    return _mask_patterns(_mask_truncated(data, forms))


def mask_text(text: str, store: Store | None = None) -> str:
    """Mask the secrets of the environment and of a store in a text, such as an error."""
    masked = mask_bytes(text.encode(errors="surrogatepass"), store)
    return masked.decode(errors="replace")


def has_secret(text: str, store: Store | None = None) -> bool:
    """Return whether `mask_text` would change a text."""
    return mask_text(text, store) != text.encode(errors="surrogatepass").decode(errors="replace")


def complete_length(data: bytes) -> int:
    """Return how many bytes of a growing log can be masked and forwarded.

    These are the bytes up to the last line end, or up to the start of a private key whose end is
    not written yet. A start that is more than 64 KiB back is ignored.
    """
    end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
    begin = data.rfind(b"-----BEGIN ", 0, end)
    if begin < 0 or b"-----END " in data[begin:end] or end - begin > 2**16:
        return end
    return begin if b"PRIVATE KEY-----" in data[begin : begin + 60] else end


def find_secrets(environ: Mapping[str, str], access: S3Access | None = None) -> set[str]:
    """Return the secret values of an environment and of a store's credentials."""
    found = {value for name, value in environ.items() if is_secret(name, value)}
    found |= {password for value in environ.values() for password in _url_passwords(value)}
    found |= _secrets_of(access)
    return {value for value in found if len(value) >= MIN_LENGTH}


def _secrets_of(access: S3Access | None) -> frozenset[str]:
    """Return the secrets in a store's credentials, including those read from ``~/.aws``."""
    if access is None:
        return frozenset()
    given = frozenset(filter(None, (access.secret_key, access.session_token)))
    return given | (
        access.credential_chain.returned_secrets if access.credential_chain else frozenset()
    )


def is_secret(name: str, value: str) -> bool:
    """Return whether the value of a variable is a secret, by its name and its form.

    A path, a common word or a value shorter than `MIN_LENGTH` is not a secret. A number is a secret
    only if the name says that it is a password. If the name only hints at a secret, such as
    ``..._AUTH``, the value must be longer, and not plain words.
    """
    words = name.upper().replace("-", "_").strip("_")
    if words in _HARMLESS_NAMES or _HARMLESS_END.search(words):
        return False
    parts = re.split(r"[^A-Z0-9]+", words)
    strong = bool(_STRONG_KEY.search(words)) or any(_STRONG.search(part) for part in parts)
    if not strong and _WEAK.isdisjoint(parts):
        return False
    if len(value) < MIN_LENGTH or _HARMLESS_VALUES.fullmatch(value) or _is_path(value):
        return False
    if _NUMBER.fullmatch(value):
        return any(part.endswith(("PASSWORD", "PASSWD", "PASSPHRASE")) for part in parts)
    return strong or (len(value) >= _WEAK_MIN_LENGTH and not _WORDS.fullmatch(value))


def _is_path(value: str) -> bool:
    """Return whether a value is a path on this machine; AWS secrets may start with a slash too."""
    if value.startswith(("~/", "./", "../", "unix:/", "file:/")):
        return True
    root = value.partition(os.pathsep)[0].split("/")[1:2]
    return value.startswith("/") and bool(root and root[0]) and path_exists(f"/{root[0]}")


def _url_passwords(value: str) -> set[str]:
    try:
        password = urlsplit(value).password if "://" in value and "@" in value else None
    except ValueError:  # brackets that are not an IPv6 address
        return set()
    return {password, unquote(password)} if password else set()


@lru_cache(maxsize=8)
def _all_forms(environ: frozenset[tuple[str, str]], extra: frozenset[str]) -> tuple[bytes, ...]:
    """Return all encodings of all secrets, longest first, as one may contain another."""
    long_enough = {value for value in extra if len(value) >= MIN_LENGTH}
    return _sorted_forms(find_secrets(dict(environ)) | long_enough)


def _sorted_forms(values: Iterable[str]) -> tuple[bytes, ...]:
    found = {form for value in values for form in _forms(value)}
    return tuple(sorted(found, key=lambda form: (-len(form), form)))


def _forms(value: str) -> Iterable[bytes]:
    """Yield a secret as text, escaped, URL-encoded, line by line and in base64."""
    for text in {value, value.strip()}:
        texts = {text, quote(text), quote(text, safe=""), quote_plus(text), repr(text)[1:-1]}
        texts |= {json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
        texts |= {line.strip() for line in text.splitlines() if len(line.strip()) >= MIN_LINE}
        yield from (
            form.encode(errors="surrogatepass") for form in texts if len(form) >= MIN_LENGTH
        )
        yield from _base64_forms(text.encode(errors="surrogatepass"))


def _base64_forms(data: bytes) -> Iterable[bytes]:
    """List the base64 encodings of bytes at each alignment, as in ``base64("user:" + secret)``.

    Characters at the ends that depend on neighbouring bytes are omitted.
    """
    for before in range(3):
        coded = base64.b64encode(b"\0" * before + data).rstrip(b"=")
        inner = coded[(0, 2, 3)[before] : len(coded) - ((before + len(data)) % 3 > 0)]
        if len(inner) >= MIN_LENGTH:
            yield inner
            yield inner.translate(bytes.maketrans(b"+/", b"-_"))


def _mask_truncated(data: bytes, forms: Iterable[bytes]) -> bytes:
    """Mask a secret that is truncated at the start or the end of the data."""
    for form in forms:
        sizes = range(min(len(form) - 1, len(data)), MIN_LENGTH - 1, -1)
        if form[-MIN_LENGTH:] in data[: len(form)]:
            size = next((n for n in sizes if data.startswith(form[-n:])), 0)
            data = MASK.encode() + data[size:] if size else data
        if form[:MIN_LENGTH] in data[-len(form) :]:
            size = next((n for n in sizes if data.endswith(form[:n])), 0)
            data = data[: len(data) - size] + MASK.encode() if size else data
    return data


def _mask_patterns(data: bytes) -> bytes:
    for literal, pattern in PATTERNS.items():
        if literal in data:
            data = pattern.sub(_replacement, data)
    return data


def _replacement(found: re.Match[bytes]) -> bytes:
    return (found.groupdict().get("keep") or b"") + MASK.encode()
