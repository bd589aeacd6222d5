"""A place with no data of the user's, tiny idx files, and a web server on this machine."""

from __future__ import annotations

import gzip
import hashlib
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from harness.data.published import MNIST, SOURCES, Source

Answer = Callable[[BaseHTTPRequestHandler], None]


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The user's cache, empty; and no folder of data."""
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "cnn-harness"


def idx_bytes(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


@dataclass
class Tiny:
    """A dataset of 20 + 10 images that goes by the name of MNIST, and its four files."""

    source: Source
    files: dict[str, bytes]

    def put(self, folder: Path, *, compressed: bool = True, dotted: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for stem, content in self.files.items():
            name = stem.replace("-idx", ".idx") if dotted else stem
            if compressed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (folder / name).write_bytes(content)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Tiny:
    rng = np.random.default_rng(0)
    files, parts = {}, []
    for part, count in zip(MNIST.parts, (20, 20, 10, 10), strict=True):
        top = 256 if len(part.shape) == 3 else 10
        array = rng.integers(0, top, (count, *part.shape[1:]))
        files[part.stem] = idx_bytes(array)
        digest = hashlib.sha256(files[part.stem]).hexdigest()
        parts.append(replace(part, shape=array.shape, content=digest))
    source = replace(MNIST, parts=tuple(parts), mirrors=())
    monkeypatch.setitem(SOURCES, "mnist", source)
    return Tiny(source, files)


@dataclass
class Web:
    """A server on the loopback: what it answers by path, and what it was asked for."""

    address: str
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def give(self, path: str, body: bytes, *, promised: int | None = -1) -> str:
        """Answer with `body`; `promised` is the length announced, None for no length at all."""

        def answer(request: BaseHTTPRequestHandler) -> None:
            request.send_response(200)
            if promised is not None:
                request.send_header("Content-Length", str(len(body) if promised < 0 else promised))
            request.end_headers()
            request.wfile.write(body)

        self.answers[path] = answer
        return self.address + path


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    site = Web("")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.asked.append(self.path)
            if self.path in site.answers:
                site.answers[self.path](self)
            else:
                self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield site
    server.shutdown()
    thread.join()
    server.server_close()
