"""Whether a process is alive and ready, and its metrics, over HTTP on a port of its own.

/healthz: the main loop turned lately. /readyz: everything it needs is there, as JSON by check. /metrics: Prometheus.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from aml.domain.errors import USAGE, AmlError
from aml.metrics import Metrics

ADDRESS, PORT, TRIED = "127.0.0.1", 9464, 50
STALE: Final = 60.0  # seconds without a turn: not alive
_log: Final = logging.getLogger("aml.health")


class Pulse:
    """What a process says of itself; for any thread."""

    def __init__(self, checks: tuple[str, ...], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._beat = clock()
        self._checks: dict[str, tuple[bool, str]] = {name: (False, "not yet") for name in checks}

    def beat(self) -> None:
        """The main loop turned."""
        self._beat = self._clock()

    def set(self, check: str, ok: bool, says: str) -> None:
        """How it stands with one thing that is needed."""
        with self._lock:
            self._checks[check] = (ok, says)

    @property
    def alive(self) -> bool:
        """Whether the main loop turned lately."""
        return self._clock() - self._beat < STALE

    def ready(self) -> tuple[bool, dict[str, Any]]:
        """Whether all is there, and each check."""
        with self._lock:
            checks = dict(self._checks)
        told = {name: {"ok": ok, "says": says} for name, (ok, says) in checks.items()}
        return self.alive and all(ok for ok, _ in checks.values()), told


def _handler(metrics: Metrics, pulse: Pulse) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            if path == "/metrics":
                self._send(200, CONTENT_TYPE_LATEST, generate_latest(metrics.registry))
            elif path == "/healthz":
                self._json(pulse.alive, {"alive": pulse.alive})
            elif path == "/readyz":
                ready, checks = pulse.ready()
                self._json(ready, {"ready": ready, "checks": checks})
            else:
                self._send(404, "text/plain; charset=utf-8", b"/metrics, /healthz, /readyz\n")

        def _json(self, ok: bool, body: dict[str, Any]) -> None:
            self._send(200 if ok else 503, "application/json", json.dumps(body).encode() + b"\n")

        def _send(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: a scrape every few seconds is no news."""

    return Handler


@contextmanager
def serving(metrics: Metrics, pulse: Pulse) -> Iterator[str]:
    """Serve while the block runs; the address. AML_METRICS_ADDRESS and AML_METRICS_PORT say where; a port that is taken
    means the next free one. Raises AmlError where none is free."""
    address, first = os.environ.get("AML_METRICS_ADDRESS") or ADDRESS, _port()
    server = _bound(address, first, _handler(metrics, pulse))
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    at = f"http://{address}:{server.server_address[1]}"
    _log.info("metrics and health at %s/metrics, /healthz, /readyz", at)
    try:
        yield at
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def _port() -> int:
    text = os.environ.get("AML_METRICS_PORT") or str(PORT)
    if not text.isdecimal() or int(text) > 65535:
        raise AmlError(f"AML_METRICS_PORT={text}: is no port", USAGE)
    return int(text)


def _bound(address: str, first: int, handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    for port in range(first, first + TRIED) if first else [0]:
        try:
            return _Server((address, port), handler)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise AmlError(f"AML_METRICS_ADDRESS={address}: {error.strerror}: mend it", USAGE) from error
            if port == first:
                _log.warning("port %d is taken: the next free one is used", first)
    raise AmlError(f"AML_METRICS_PORT={first}: it and {TRIED - 1} after it are taken: name another", USAGE)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # With it a port that another process listens on could be taken twice.
    allow_reuse_address = False
