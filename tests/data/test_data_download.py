from __future__ import annotations

import gzip
import hashlib
import io
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from harness.data import download, load
from harness.data.published import SOURCES
from harness.errors import DataError

IMAGES = "train-images-idx3-ubyte"


@pytest.fixture
def mirrors(tiny, web, monkeypatch):
    """Two mirrors, `/one/` with nothing and `/two/` with everything."""
    source = replace(tiny.source, mirrors=(f"{web.address}/one/", f"{web.address}/two/"))
    monkeypatch.setitem(SOURCES, "mnist", source)
    for stem, content in tiny.files.items():
        web.give(f"/two/{stem}.gz", gzip.compress(content))
    return source


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_when_the_first_mirror_fails_the_second_delivers(mirrors, web, cache):
    assert len(load("mnist").train_images) == 20
    assert web.asked[:2] == [f"/one/{IMAGES}.gz", f"/two/{IMAGES}.gz"]
    assert names(cache / "mnist") == sorted(f"{part.stem}.gz" for part in mirrors.parts)


def test_what_was_downloaded_once_is_not_asked_for_again(mirrors, web):
    first = load("mnist").hash
    web.asked.clear()
    assert load("mnist").hash == first
    assert web.asked == []


def test_only_what_is_missing_is_downloaded(mirrors, tiny, web, cache):
    tiny.put(cache / "mnist")
    (cache / "mnist" / f"{IMAGES}.gz").unlink()
    load("mnist")
    assert {path.rpartition("/")[2] for path in web.asked} == {f"{IMAGES}.gz"}


def test_a_file_that_the_server_unpacked_is_accepted(mirrors, tiny, web):
    web.give(f"/one/{IMAGES}.gz", tiny.files[IMAGES])
    assert len(load("mnist").train_images) == 20
    assert f"/two/{IMAGES}.gz" not in web.asked


def damaged(tiny) -> dict[str, tuple[bytes, int | None, str]]:
    whole = gzip.compress(tiny.files[IMAGES])
    other = tiny.files[IMAGES][:-1] + bytes([tiny.files[IMAGES][-1] ^ 1])
    return {
        "truncated": (whole[: len(whole) // 2], len(whole), "connection failed|damaged gzip"),
        "truncated, no length announced": (whole[: len(whole) // 2], None, "damaged gzip"),
        "wrong checksum": (gzip.compress(other), -1, "SHA-256 .* expected [0-9a-f]{64}, found"),
        "endless": (bytes(500_000), -1, "too long: more than 81216 bytes"),
        "a web page": (b"<html>Please log in</html>", -1, "magic number"),
    }


@pytest.mark.parametrize(
    "fault",
    ["truncated", "truncated, no length announced", "wrong checksum", "endless", "a web page"],
)
def test_a_damaged_download_is_never_used_nor_left_in_place(
    mirrors, tiny, web, cache, monkeypatch, fault
):
    body, promised, message = damaged(tiny)[fault]
    web.give(f"/one/{IMAGES}.gz", body, promised=promised)
    only_one = replace(mirrors, mirrors=mirrors.mirrors[:1])
    monkeypatch.setitem(SOURCES, "mnist", only_one)
    with pytest.raises(DataError, match=rf"/one/{IMAGES}.gz: .*({message})"):
        load("mnist")
    assert names(cache / "mnist") == []
    monkeypatch.setitem(SOURCES, "mnist", mirrors)
    assert len(load("mnist").train_images) == 20


def test_when_every_mirror_fails_the_error_names_each_and_what_to_do(
    mirrors, web, cache, tmp_path, monkeypatch
):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{unused.getsockname()[1]}/"
    monkeypatch.setitem(SOURCES, "mnist", replace(mirrors, mirrors=(mirrors.mirrors[0], dead)))
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "own"))
    with pytest.raises(DataError) as caught:
        load("mnist")
    message = str(caught.value)
    assert f"{web.address}/one/{IMAGES}.gz: 404" in message
    assert f"{dead}{IMAGES}.gz: connection failed (" in message
    assert "Connection refused" in message
    assert f"$HARNESS_DATA ({tmp_path / 'own'})" in message
    assert str(cache / "mnist") in message
    assert "--dataset digits" in message


def test_a_mirror_that_falls_silent_is_given_up(mirrors, web, monkeypatch):
    monkeypatch.setattr(download, "_TIMEOUT", (0.2, 0.2))
    web.answers[f"/one/{IMAGES}.gz"] = lambda _: time.sleep(0.5)
    assert len(load("mnist").train_images) == 20


def test_the_error_says_how_long_a_silent_mirror_was_waited_for(web, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "_TIMEOUT", (0.2, 0.2))
    web.answers["/file"] = lambda _: time.sleep(0.5)
    with pytest.raises(DataError, match=r"/file: no answer within 0.2 s, or 0.2 s of silence"):
        download.download([f"{web.address}/file"], tmp_path / "file", 10, lambda _: None)


def test_a_nonsense_length_is_a_fault_of_the_mirror(web, tmp_path):
    def answer(request):
        request.send_response(200)
        request.send_header("Content-Length", "many")
        request.end_headers()

    web.answers["/file"] = answer
    with pytest.raises(DataError, match="/file: connection failed"):
        download.download([f"{web.address}/file"], tmp_path / "file", 10, lambda _: None)


def test_a_download_that_differs_from_the_published_archive_is_refused(mirrors, tiny, monkeypatch):
    archive = hashlib.md5(b"the published one").hexdigest()
    parts = (replace(mirrors.parts[0], archive=archive), *mirrors.parts[1:])
    monkeypatch.setitem(SOURCES, "mnist", replace(mirrors, parts=parts))
    with pytest.raises(DataError, match=rf"MD5 expected {archive}, found [0-9a-f]{{32}}"):
        load("mnist")


def test_the_published_archive_is_accepted(mirrors, tiny, web, monkeypatch):
    packed = gzip.compress(tiny.files[IMAGES])
    web.give(f"/one/{IMAGES}.gz", packed)
    archive = hashlib.md5(packed).hexdigest()
    parts = (replace(mirrors.parts[0], archive=archive), *mirrors.parts[1:])
    monkeypatch.setitem(SOURCES, "mnist", replace(mirrors, parts=parts))
    assert len(load("mnist").train_images) == 20


def test_a_file_already_in_place_survives_until_the_new_one_is_verified(web, tmp_path):
    target = tmp_path / "file"
    target.write_bytes(b"old")
    url = web.give("/file", b"new")
    seen = []
    download.download([url], target, 10, lambda _: seen.append(target.read_bytes()))
    assert seen == [b"old"]
    assert target.read_bytes() == b"new"


def test_an_interrupt_leaves_nothing_behind(web, tmp_path):
    def interrupt(_: Path) -> None:
        raise KeyboardInterrupt

    url = web.give("/file", b"new")
    with pytest.raises(KeyboardInterrupt):
        download.download([url], tmp_path / "file", 10, interrupt)
    assert names(tmp_path) == []


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal_as_stderr(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    # No fixture: pytest puts its own stderr in place again when the test itself starts.
    monkeypatch.setenv("TERM", "xterm")
    for variable in ("NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(variable, raising=False)
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    return screen


def test_progress_is_shown_on_a_terminal(web, tmp_path, monkeypatch):
    terminal = terminal_as_stderr(monkeypatch)
    url = web.give("/file", bytes(300_000))
    download.download([url], tmp_path / "progress-of-this", 300_000, lambda _: None)
    assert "progress-of-this" in terminal.getvalue()
    assert "300.0" in terminal.getvalue()


def test_progress_is_cleared_away_when_a_download_fails(web, tmp_path, monkeypatch):
    terminal = terminal_as_stderr(monkeypatch)
    url = web.give("/file", bytes(300_000), promised=400_000)
    with pytest.raises(DataError):
        download.download([url], tmp_path / "file", 400_000, lambda _: None)
    shown_cursor, hidden_cursor = "\x1b[?25h", "\x1b[?25l"
    text = terminal.getvalue()
    assert text.rfind(shown_cursor) > text.rfind(hidden_cursor) >= 0


def test_nothing_is_shown_where_no_terminal_is(web, tmp_path, capsys):
    url = web.give("/file", b"new")
    download.download([url], tmp_path / "file", 10, lambda _: None)
    assert capsys.readouterr() == ("", "")
