"""Downloads from a real server that drops, stalls, changes the file or lies."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from test_archive import CONTENT, good, tree
from website import DATE, Handler, Site, Step, hang_up, raw, status
from website import serve as serve

from seal_store.errors import DownloadError, InputError, OutputError
from seal_store.fetch import download as library
from seal_store.fetch.download import Download, Patience, downloads, fetch

QUICK = Patience(timeout=2.0, retries=3, backoff=0.01, longest=0.2)


@pytest.fixture
def content(rng: np.random.Generator) -> bytes:
    return rng.bytes(300_000)


def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def asked_for(download: Download, **facts: object) -> Download:
    return replace(download, **facts)  # type: ignore[arg-type]


MODELS = replace(downloads()["models"], record=None)
NAME = MODELS.file


def complete(folder: Path, content: bytes) -> None:
    """The file and its sum are there, byte by byte, and nothing else."""
    assert (folder / NAME).read_bytes() == content
    sha256 = hashlib.sha256(content).hexdigest()
    assert (folder / f"{NAME}.sha256").read_text() == f"{sha256}  {NAME}\n"
    assert sorted(p.name for p in folder.iterdir()) == [NAME, f"{NAME}.sha256"]


def test_the_published_files() -> None:
    found = downloads()
    assert list(found) == ["models", "resources"]
    assert found["models"].file == "seal_model.tar.gz"
    assert found["resources"].file == "seal_resource.tar.gz"
    for item, record in zip(found.values(), ("14104608", "13368284"), strict=True):
        assert item.url.startswith("https://")
        assert record in item.url
        assert item.page.endswith(record)
        assert item.record == f"https://zenodo.org/api/records/{record}"
        assert item.urls() == [item.url]
        assert "non-commercial" in item.licence
        assert item.checksum is None
    known = asked_for(found["models"], md5="m", sha256="s")
    assert known.checksum == ("sha256", "s")
    assert asked_for(known, sha256=None).checksum == ("md5", "m")


def test_downloads_and_knows_what_is_there(
    tmp_path: Path, serve: Callable[..., Site], content: bytes
) -> None:
    site, steps = serve(content), []
    found = fetch(MODELS, tmp_path, base_urls=[site.url + "/"], progress=lambda *s: steps.append(s))
    complete(tmp_path, content)
    assert (found.path, found.size, found.new) == (tmp_path / NAME, len(content), True)
    assert found.sha256 == hashlib.sha256(content).hexdigest()
    assert found.checked == ""
    assert steps[0] == (f"bytes of {NAME}", 0, len(content))
    assert (f"bytes of {NAME}", len(content), len(content)) in steps
    assert steps[-1] == (f"bytes of {NAME} checked", len(content), len(content))
    (asked,) = site.asked
    assert asked["path"] == f"/{NAME}"
    assert asked["accept-encoding"] == "identity"
    assert "range" not in asked
    again = fetch(MODELS, tmp_path, base_urls=[site.url])
    assert again == replace(found, new=False)
    assert len(site.asked) == 1


@pytest.mark.parametrize("kind", ["etag", "date", "weak"])
def test_dropped_connections_go_on_where_they_ended(
    tmp_path: Path, serve: Callable[..., Site], content: bytes, kind: str
) -> None:
    etag = {"etag": '"one"', "date": "", "weak": 'W/"one"'}[kind]
    site, notes = serve(content, cut=40_000, etag=etag), []
    fetch(MODELS, tmp_path, base_urls=[site.url], patience=QUICK, note=notes.append)
    complete(tmp_path, content)
    assert len(site.asked) == 8  # more than the retries: each one came farther
    assert [a.get("range") for a in site.asked[:3]] == [None, "bytes=40000-", "bytes=80000-"]
    assert {a["if-range"] for a in site.asked[1:]} == {'"one"' if kind == "etag" else DATE}
    assert "the connection was closed after 40,000 of 300,000 bytes; trying again" in notes[0]


def test_no_ranges_or_no_validator_starts_afresh(
    tmp_path: Path, serve: Callable[..., Site], content: bytes
) -> None:
    for i, facts in enumerate(({"ranges": False}, {"etag": "", "modified": ""})):
        site = serve(content, cut=40_000, **facts)

        def heal(handler: Handler, site: Site = site) -> None:
            site.cut = None

        site.script = [None, None, heal]
        fetch(MODELS, tmp_path / str(i), base_urls=[site.url], patience=QUICK)
        complete(tmp_path / str(i), content)
        assert len(site.asked) == 3
        assert ("range" in site.asked[1]) == (i == 0)


@pytest.mark.parametrize("obeys", [True, False])
def test_a_file_that_changes_between_tries_starts_afresh(
    tmp_path: Path, serve: Callable[..., Site], rng: np.random.Generator, obeys: bool
) -> None:
    """A server that honours If-Range sends all of the new file, others a part of it: not taken."""
    old, new = rng.bytes(200_000), rng.bytes(200_000)
    site = serve(old, cut=90_000)

    def change(handler: Handler) -> None:
        site.content, site.etag, site.cut = new, '"two"', None
        if not obeys:
            del handler.headers["If-Range"]

    site.script = [None, change]
    fetch(MODELS, tmp_path, base_urls=[site.url], patience=QUICK)
    complete(tmp_path, new)
    assert len(site.asked) == (2 if obeys else 3)


def test_a_file_that_becomes_shorter_than_the_part(
    tmp_path: Path, serve: Callable[..., Site], content: bytes
) -> None:
    site = serve(content, cut=90_000)

    def shrink(handler: Handler) -> None:
        site.content, site.cut = content[:50_000], None

    site.script = [None, shrink]  # same validators: 416
    fetch(MODELS, tmp_path, base_urls=[site.url], patience=QUICK)
    complete(tmp_path, content[:50_000])
    assert "range" not in site.asked[2]


@pytest.mark.parametrize("first", [0, 89_999, 95_000])
def test_an_answer_to_another_range_is_not_taken(
    tmp_path: Path, serve: Callable[..., Site], content: bytes, first: int
) -> None:
    site = serve(content, cut=90_000)

    def other(handler: Handler) -> bool:
        site.cut = None
        handler.begin(206, len(content) - first)
        last = len(content) - 1
        handler.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        handler.end_headers()
        handler.body(content[first:])
        return True

    site.script = [None, other]
    fetch(MODELS, tmp_path, base_urls=[site.url], patience=QUICK)
    complete(tmp_path, content)
    assert "range" not in site.asked[2]


def test_a_server_that_gives_ranges_in_pieces(
    tmp_path: Path, serve: Callable[..., Site], content: bytes
) -> None:
    site = serve(content, cut=90_000)

    def piece(handler: Handler) -> bool:
        site.cut = None
        handler.begin(206, 1000)
        handler.send_header("Content-Range", f"bytes 90000-90999/{len(content)}")
        handler.end_headers()
        handler.body(content[90_000:91_000])
        return True

    site.script = [None, piece]
    fetch(MODELS, tmp_path, base_urls=[site.url], patience=QUICK)
    complete(tmp_path, content)
    assert site.asked[2]["range"] == "bytes=91000-"


def wrong_length(by: int) -> Step:
    def step(handler: Handler) -> bool:
        handler.begin(200, len(handler.site.content) + by)
        handler.end_headers()
        handler.body(handler.site.content)
        return True

    return step


def test_a_content_length_that_is_too_long(
    tmp_path: Path, serve: Callable[..., Site], content: bytes
) -> None:
    site = serve(content)
    site.script = [wrong_length(100)]
    fetch(MODELS, tmp_path, base_urls=[site.url], patience=QUICK)
    complete(tmp_path, content)
    site.script = [wrong_length(100)] * 20
    with pytest.raises(DownloadError, match="closed after 300,000 of 300,100 bytes"):
        fetch(MODELS, tmp_path / "b", base_urls=[site.url], patience=QUICK)
    assert not (tmp_path / "b" / NAME).exists()


def test_a_content_length_that_is_too_short_is_seen_where_the_size_is_known(
    tmp_path: Path, serve: Callable[..., Site], content: bytes
) -> None:
    site = serve(content)
    site.script = [wrong_length(-100)]
    known = asked_for(MODELS, size=len(content))
    with pytest.raises(DownloadError, match="299,900 bytes, expected 300,000"):
        fetch(known, tmp_path, base_urls=[site.url], patience=QUICK)
    fetch(known, tmp_path, base_urls=[site.url], patience=QUICK)
    complete(tmp_path, content)


def test_a_body_without_any_length_is_refused_and_a_chunked_one_is_not(
    tmp_path: Path, serve: Callable[..., Site], content: bytes
) -> None:
    def endless(handler: Handler) -> bool:
        handler.begin(200, None)
        handler.end_headers()
        handler.body(content[:1000])
        return True

    def chunked(cut: int) -> Step:
        def step(handler: Handler) -> bool:
            handler.protocol_version = "HTTP/1.1"
            handler.begin(200, None)
            handler.send_header("Transfer-Encoding", "chunked")
            handler.end_headers()
            for first in range(0, cut, 50_000):
                block = content[first : first + 50_000]
                handler.wfile.write(b"%x\r\n%b\r\n" % (len(block), block))
            if cut >= len(content):
                handler.wfile.write(b"0\r\n\r\n")
            handler.close_connection = True
            return True

        return step

    site = serve(content)
    site.script = [endless]
    with pytest.raises(DownloadError, match="does not say how long"):
        fetch(MODELS, tmp_path / "a", base_urls=[site.url], patience=QUICK)
    site.script = [chunked(100_000), status(503), chunked(len(content))]
    fetch(MODELS, tmp_path / "b", base_urls=[site.url], patience=QUICK)
    complete(tmp_path / "b", content)
    assert site.asked[2]["range"] == "bytes=100000-"


def test_busy_servers_are_asked_again_after_the_time_they_name(
    tmp_path: Path, serve: Callable[..., Site], content: bytes
) -> None:
    site, notes = serve(content), []
    soon = formatdate(time.time() + 3600, usegmt=True)
    site.script = [
        status(503),
        status(429, Retry_After="0.1"),
        status(503, Retry_After=soon),
        hang_up,
    ]
    patience = replace(QUICK, retries=4)
    fetch(MODELS, tmp_path, base_urls=[site.url], patience=patience, note=notes.append)
    complete(tmp_path, content)
    # 0.01 doubling; "0.1" is no whole number and is not read; an hour is cut to `longest`
    assert [float(n.split(" in ")[-1].split()[0]) for n in notes] == [0.01, 0.02, 0.2, 0.08]
    site.script = [status(503, Retry_After="1")] * 9
    with pytest.raises(DownloadError, match="status 503") as caught:
        fetch(MODELS, tmp_path / "b", base_urls=[site.url], patience=QUICK)
    assert "run the same command again" in caught.value.hint
    assert len(site.asked) == 5 + 1 + QUICK.retries


@pytest.mark.parametrize(
    "after", ["9" * 400, "9" * 5_000, "²", "Mon, 01 Jan 9999 23:59:59 -2359", "Mon, 99 x"]
)
def test_a_time_to_wait_that_is_none_does_not_matter(
    tmp_path: Path, serve: Callable[..., Site], content: bytes, after: str
) -> None:
    site = serve(content, script=[raw(f"503 busy\r\nRetry-After: {after}\r\nContent-Length: 0")])
    fetch(MODELS, tmp_path, base_urls=[site.url], patience=QUICK)
    complete(tmp_path, content)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (f"200 OK\r\nContent-Length: {'9' * 5_000}", "does not say how long the file is"),
        (f"200 OK\r\nContent-Length: {'9' * 20}", "does not say how long the file is"),
        ("302 x\r\nLocation: https://[::1/\r\nContent-Length: 0", "which is not https"),
        ("302 x\r\nLocation: http://[::1]/\udcff\r\nContent-Length: 0", "can be used"),
    ],
)
def test_an_answer_that_makes_no_sense_is_one_line(
    tmp_path: Path, serve: Callable[..., Site], answer: str, says: str
) -> None:
    site = serve(b"", script=[raw(answer)])
    with pytest.raises(DownloadError, match=says) as caught:
        fetch(MODELS, tmp_path, base_urls=[site.url], patience=QUICK)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("code", [404, 403, 401, 410])
def test_what_will_not_pass_is_not_tried_again(
    tmp_path: Path, serve: Callable[..., Site], content: bytes, code: int
) -> None:
    site = serve(content)
    site.script = [status(code)] * 3
    with pytest.raises(DownloadError, match=f"{NAME}: status {code}") as caught:
        fetch(MODELS, tmp_path, base_urls=[site.url], patience=QUICK)
    assert "`base_urls`" in caught.value.hint
    assert len(site.asked) == 1
    assert not list(tmp_path.iterdir())


def test_mirrors_are_tried_in_turn(
    tmp_path: Path, serve: Callable[..., Site], content: bytes
) -> None:
    lost, half, whole, notes = serve(b""), serve(b"other" * 9000, cut=20_000), serve(content), []
    lost.script = [status(404)]
    half.script = [None, *[status(503)] * 9]
    urls = [closed_port(), lost.url, half.url, f"{whole.url}/seal/files/"]
    fetch(MODELS, tmp_path, base_urls=urls, patience=QUICK, note=notes.append)
    complete(tmp_path, content)
    assert whole.asked[0]["path"] == f"/seal/files/{NAME}"
    assert "range" not in whole.asked[0]  # another address: its version is not known to agree
    assert sum("; trying http" in note for note in notes) == 3


def test_a_mirror_with_a_file_of_another_size_does_not_cost_what_is_there(
    tmp_path: Path, serve: Callable[..., Site], content: bytes
) -> None:
    site, other = serve(content, cut=100_000), serve(content + b"x")
    site.script = [None, *[status(503)] * 9]
    known = asked_for(MODELS, size=len(content))
    with pytest.raises(DownloadError, match="300,001 bytes, expected 300,000"):
        fetch(known, tmp_path, base_urls=[site.url, other.url], patience=QUICK)
    site.script, site.cut = [], None
    fetch(known, tmp_path, base_urls=[site.url], patience=QUICK)
    complete(tmp_path, content)
    assert site.asked[-1]["range"] == "bytes=100000-"


def test_redirects(tmp_path: Path, serve: Callable[..., Site], content: bytes) -> None:
    site, other = serve(b"wrong"), serve(content, cut=100_000)
    site.script = [status(302, Location=f"{other.url}/moved")] * 5
    fetch(MODELS, tmp_path / "a", base_urls=[site.url], patience=QUICK)
    complete(tmp_path / "a", content)
    assert other.asked[1]["range"] == "bytes=100000-"
    for i, goal in enumerate(
        ("file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x", "http://example.com/x")
    ):
        site.script = [status(302, Location=goal)]
        with pytest.raises(DownloadError) as caught:
            fetch(MODELS, tmp_path / f"b{i}", base_urls=[site.url], patience=QUICK)
        assert goal.partition(":")[0] in str(caught.value)
        assert not list((tmp_path / f"b{i}").iterdir())
    site.script = [status(302, Location=f"/{i}") for i in range(30)]
    with pytest.raises(DownloadError, match="Exceeded 10 redirects"):
        fetch(MODELS, tmp_path / "c", base_urls=[site.url], patience=QUICK)


@pytest.mark.parametrize("size", [f"Content-Length: {1 << 40}", "Transfer-Encoding: chunked"])
def test_the_body_of_a_redirect_is_not_read(
    tmp_path: Path, serve: Callable[..., Site], content: bytes, size: str
) -> None:
    goal, sent = serve(content), []

    def endless(handler: Handler) -> bool:
        raw(f"302 Found\r\nLocation: {goal.url}/x\r\n{size}")(handler)
        block = bytes(1 << 20)
        try:
            while len(sent) < 200:
                handler.wfile.write(b"100000\r\n%b\r\n" % block if "chunked" in size else block)
                sent.append(block)
        except OSError:  # the client hung up
            pass
        return True

    site = serve(b"", script=[endless])
    fetch(MODELS, tmp_path, base_urls=[site.url], patience=QUICK)
    complete(tmp_path, content)
    assert len(sent) < 100


@pytest.mark.parametrize(
    "url",
    ["http://example.com", "ftp://host/x", "file:///etc", "host/x", "", "https://", "http://[::1"],
)
def test_only_https_or_this_machine(tmp_path: Path, url: str) -> None:
    with pytest.raises(InputError, match="https|TLS"):
        fetch(MODELS, tmp_path, base_urls=[url])
    assert not list(tmp_path.iterdir())


def test_this_machine_by_its_names() -> None:
    for host in ("localhost", "127.0.0.1", "127.8.0.1", "[::1]"):
        assert MODELS.urls([f"http://{host}:8000/x"]) == [f"http://{host}:8000/x/{NAME}"]


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed one for localhost, with its key."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    path = tmp_path / "tls.pem"
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
            "-keyout",
            path,
            "-out",
            f"{path}.crt",
        ],
        check=True,
        capture_output=True,
    )
    path.write_bytes(path.read_bytes() + Path(f"{path}.crt").read_bytes())
    return path


def test_tls(
    tmp_path: Path,
    serve: Callable[..., Site],
    content: bytes,
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """https is checked against the system's certificates and never left for http."""
    for name in ("https_proxy", "HTTPS_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    site, plain = serve(content, certificate=certificate, cut=200_000), serve(content)
    with pytest.raises(DownloadError, match="its certificate is not valid"):
        fetch(MODELS, tmp_path / "a", base_urls=[site.url], patience=QUICK)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    fetch(MODELS, tmp_path / "b", base_urls=[site.url], patience=QUICK)
    complete(tmp_path / "b", content)
    assert [a.get("range") for a in site.asked] == [None, "bytes=200000-"]
    site.script = [status(302, Location=f"{plain.url}/x")]
    with pytest.raises(DownloadError, match="which is not https"):
        fetch(MODELS, tmp_path / "c", base_urls=[site.url], patience=QUICK)
    assert not plain.asked


def test_proxies_of_the_environment_are_used(
    tmp_path: Path, serve: Callable[..., Site], content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = serve(content)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", proxy.url)
    fetch(MODELS, tmp_path / "a", base_urls=["http://localhost:9"], patience=QUICK)
    complete(tmp_path / "a", content)
    assert proxy.asked[0]["path"] == f"http://localhost:9/{NAME}"
    monkeypatch.setenv("no_proxy", "localhost")
    with pytest.raises(DownloadError, match="cannot be reached"):
        fetch(MODELS, tmp_path / "b", base_urls=["http://localhost:9"], patience=QUICK)


def test_slow_bodies_are_taken_and_stalled_ones_are_asked_for_again(
    tmp_path: Path, serve: Callable[..., Site], content: bytes
) -> None:
    slow = serve(content[:100_000], pause=0.05)
    fetch(MODELS, tmp_path / "a", base_urls=[slow.url], patience=replace(QUICK, timeout=0.3))
    complete(tmp_path / "a", content[:100_000])
    assert len(slow.asked) == 1
    site, notes = serve(content), []

    def stall(handler: Handler) -> bool:
        handler.begin(200, len(content))
        handler.end_headers()
        handler.wfile.write(content[:70_000])
        handler.wfile.flush()
        time.sleep(0.6)
        return True

    site.script = [stall]
    patience = replace(QUICK, timeout=0.3)
    fetch(MODELS, tmp_path / "b", base_urls=[site.url], patience=patience, note=notes.append)
    complete(tmp_path / "b", content)
    assert "no answer in time" in notes[0]
    assert site.asked[1]["range"] == "bytes=70000-"


def drip(start: bytes, repeated: bytes, pause: float = 0.02) -> Step:
    """Answer with ``start``, then ``repeated`` until the client leaves."""

    def step(handler: Handler) -> bool:
        with suppress(OSError):
            handler.wfile.write(start)
            while True:
                handler.wfile.write(repeated)
                handler.wfile.flush()
                time.sleep(pause)
        handler.close_connection = True
        return True

    return step


@pytest.mark.parametrize(
    ("start", "repeated"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"a: b\r\n"),
        (b"HTTP/1.1 200 OK\r\n", b"x"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["body", "chunks", "a chunk's size", "trailers", "headers", "continue"],
)
def test_an_answer_that_drips_is_asked_for_again(
    tmp_path: Path, serve: Callable[..., Site], content: bytes, start: bytes, repeated: bytes
) -> None:
    site, notes = serve(content), []
    site.script = [drip(start, repeated)]
    patience = replace(QUICK, timeout=0.3)
    fetch(MODELS, tmp_path, base_urls=[site.url], patience=patience, note=notes.append)
    complete(tmp_path, content)
    assert "no answer in time" in notes[0]
    assert len(notes) == 1


def test_continue_at_full_speed_ends(
    tmp_path: Path, serve: Callable[..., Site], content: bytes
) -> None:
    site, notes = serve(content), []
    site.script = [drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, 0.0)]
    patience = replace(QUICK, timeout=0.3)
    fetch(MODELS, tmp_path, base_urls=[site.url], patience=patience, note=notes.append)
    complete(tmp_path, content)
    assert "no answer in time" in notes[0]


def test_a_body_without_end_is_given_up_while_it_comes(
    tmp_path: Path, serve: Callable[..., Site], content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunks = b"2000\r\n" + bytes(0x2000) + b"\r\n"
    endless = drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunks, 0.0)
    site = serve(content)
    site.script = [endless]
    with pytest.raises(DownloadError, match="more than 300,000 bytes, and no end"):
        fetch(asked_for(MODELS, size=300_000), tmp_path, base_urls=[site.url], patience=QUICK)
    monkeypatch.setattr("seal_store.fetch.download.LARGEST_FILE", 1_000_000)
    site.script = [endless]
    with pytest.raises(DownloadError, match="more than 1,000,000 bytes, and no end"):
        fetch(MODELS, tmp_path, base_urls=[site.url], patience=QUICK)
    monkeypatch.setattr("seal_store.fetch.download.ROOM_LEFT", 1 << 60)
    site.script = [endless]
    with pytest.raises(OutputError, match="fills the disk"):
        fetch(MODELS, tmp_path, base_urls=[site.url], patience=QUICK)
    assert {path.name for path in tmp_path.iterdir()} <= {f"{MODELS.file}.lock"}


def test_of_two_lengths_that_of_the_chunks_counts(
    tmp_path: Path, serve: Callable[..., Site], content: bytes
) -> None:
    def both(handler: Handler) -> bool:
        handler.protocol_version = "HTTP/1.1"
        handler.begin(200, 10)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content))
        handler.close_connection = True
        return True

    site = serve(content)
    site.script = [both]
    fetch(MODELS, tmp_path, base_urls=[site.url], patience=QUICK)
    complete(tmp_path, content)


@pytest.mark.parametrize("etag", ['"one"', ""])
def test_it_says_that_it_goes_on_only_where_it_can(
    tmp_path: Path, serve: Callable[..., Site], content: bytes, etag: str
) -> None:
    site = serve(content, cut=1000, etag=etag, modified="")
    site.script = [None, hang_up]
    with pytest.raises(DownloadError) as caught:
        fetch(MODELS, tmp_path, base_urls=[site.url], patience=replace(QUICK, retries=0))
    assert ("it goes on" in (caught.value.hint or "")) == bool(etag)


def test_checksums(tmp_path: Path, serve: Callable[..., Site], content: bytes) -> None:
    site = serve(content)
    sums = {k: hashlib.new(k, content).hexdigest() for k in ("sha256", "md5")}
    for kind, value in sums.items():
        known = asked_for(MODELS, **{kind: value.upper()})
        assert fetch(known, tmp_path / kind, base_urls=[site.url]).checked == kind
        assert fetch(known, tmp_path / kind).checked == kind  # from the file that is there
        wrong = asked_for(MODELS, **{kind: value[::-1]})
        with pytest.raises(DownloadError, match=f"{kind} {value}, expected {value[::-1]}"):
            fetch(wrong, tmp_path / kind)
        with pytest.raises(DownloadError, match=f"{kind} {value}, expected {value[::-1]}"):
            fetch(wrong, tmp_path / "new", base_urls=[site.url], patience=QUICK)
        assert not list((tmp_path / "new").iterdir())
        # a mirror with a damaged file is passed over
        bad = serve(content[:-1] + b"?")
        fetch(known, tmp_path / f"{kind}2", base_urls=[bad.url, site.url], patience=QUICK)
        complete(tmp_path / f"{kind}2", content)


RECORD = "/api/records/1"


def recorded(site: Site, content: bytes, **facts: object) -> Step:
    """An answer as that of Zenodo's record API: the file's size and MD5, or other ``facts``."""
    file = {
        "key": NAME,
        "size": len(content),
        "checksum": "md5:" + hashlib.md5(content).hexdigest(),
    }
    other = {"key": "readme.txt", "size": 1, "checksum": "md5:" + "0" * 32}
    answer = body(json.dumps({"id": 1, "files": [other, {**file, **facts}]}).encode())

    def step(handler: Handler) -> bool | None:
        if handler.path == RECORD:
            return answer(handler)
        site.script.insert(0, step)  # the record was given up before it was asked for
        return None

    return step


def body(content: bytes) -> Step:
    def step(handler: Handler) -> bool:
        handler.begin(200, len(content))
        handler.end_headers()
        handler.body(content)
        return True

    return step


def test_size_and_md5_are_asked_of_the_record(
    tmp_path: Path, serve: Callable[..., Site], content: bytes
) -> None:
    site, notes = serve(content), []
    known = asked_for(MODELS, record=site.url + RECORD)
    site.script = [recorded(site, content)]
    found = fetch(known, tmp_path / "a", base_urls=[site.url], note=notes.append)
    assert (found.checked, notes) == ("md5", [])
    assert [a["path"] for a in site.asked] == [RECORD, f"/{NAME}"]
    fetch(known, tmp_path / "a", base_urls=[site.url])  # what is there is checked by its SHA-256
    assert len(site.asked) == 2
    site.script = [recorded(site, content), None, *[status(404)] * 2]
    damaged = serve(content[:-1] + b"?")
    fetch(known, tmp_path / "b", base_urls=[damaged.url, site.url], note=notes.append)
    complete(tmp_path / "b", content)
    assert "md5" in notes[0]
    site.script = [recorded(site, content, size=len(content) + 1)]
    with pytest.raises(DownloadError, match="300,000 bytes, expected 300,001"):
        fetch(known, tmp_path / "c", base_urls=[site.url], patience=QUICK)
    site.script = [recorded(site, content, checksum="md5:" + "0" * 32)]
    with pytest.raises(DownloadError, match=f"md5 .*, expected {'0' * 32}"):
        fetch(known, tmp_path / "d", base_urls=[site.url], patience=QUICK)
    assert not list((tmp_path / "d").iterdir())


def test_what_is_known_ahead_comes_before_the_record(
    tmp_path: Path, serve: Callable[..., Site], content: bytes
) -> None:
    site = serve(content)
    site.script = [recorded(site, content, size=1, checksum="md5:" + "0" * 32)]
    md5 = hashlib.md5(content).hexdigest()
    known = asked_for(MODELS, record=site.url + RECORD, size=len(content), md5=md5)
    assert fetch(known, tmp_path, base_urls=[site.url]).checked == "md5"


ODD_RECORDS = {
    "busy": status(503),
    "gone": status(404),
    "closed": hang_up,
    "no JSON": body(b"<html>"),
    "no record": body(b"[1, 2]"),
    "no files": body(b'{"files": []}'),
    "deep": body(b"[" * 100_000),
    "endless": body(bytes(5 << 20)),
    "elsewhere": status(302, Location="http://example.com/x"),
    "no size": {"size": -1},
    "a size in words": {"size": "300000"},
    "another checksum": {"checksum": "crc:00"},
    "no checksum": {"checksum": "md5:zz"},
    "half a checksum": {"checksum": None},
}


@pytest.mark.parametrize("kind", ODD_RECORDS)
def test_without_the_record_it_goes_on_and_says_so(
    tmp_path: Path, serve: Callable[..., Site], content: bytes, kind: str
) -> None:
    site, notes, answer = serve(content), [], ODD_RECORDS[kind]
    site.script = [recorded(site, content, **answer) if isinstance(answer, dict) else answer]
    known = asked_for(MODELS, record=site.url + RECORD)
    found = fetch(known, tmp_path, base_urls=[site.url], patience=QUICK, note=notes.append)
    assert found.checked == ""
    complete(tmp_path, content)
    (note,) = notes
    assert note.startswith(site.url + RECORD)
    assert "going on without the size and checksum" in note
    assert "\n" not in note
    assert len(note) < 500


def test_the_command_asks_zenodo_only_where_it_downloads_from_there(
    cli: Callable[..., Result],
    tmp_path: Path,
    serve: Callable[..., Site],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = good(tmp_path / "a.tar.gz").read_bytes()
    zenodo, mirror = serve(content), serve(content)
    item = asked_for(MODELS, url=f"{zenodo.url}/files/{NAME}", record=zenodo.url + RECORD)
    monkeypatch.setattr(library, "downloads", lambda: {"models": item})
    args = ("fetch", "models", "--no-extract", "-q", "--to")
    assert cli(*args, tmp_path / "x", "--offline").exit_code == 0
    result = cli(*args, tmp_path / "a", "--base-url", mirror.url)
    assert "not verified" in result.stdout
    assert not zenodo.asked
    zenodo.script = [recorded(zenodo, content)]
    result = cli(*args, tmp_path / "b")
    assert "md5 verified" in result.stdout
    assert [a["path"] for a in zenodo.asked] == [RECORD, f"/files/{NAME}"]
    zenodo.script = [status(503)]
    result = cli(*args, tmp_path / "c")
    assert "going on without the size and checksum" in result.stderr
    assert "not verified" in result.stdout


def test_the_checksum_covers_what_an_earlier_run_wrote(
    tmp_path: Path, serve: Callable[..., Site], content: bytes
) -> None:
    site = serve(content, cut=100_000)
    site.script = [None, *[status(503)] * 4]
    known = asked_for(MODELS, sha256=hashlib.sha256(content).hexdigest())
    with pytest.raises(DownloadError):
        fetch(known, tmp_path, base_urls=[site.url], patience=QUICK)
    part = tmp_path / f"{NAME}.part"
    assert part.read_bytes() == content[:100_000]
    damaged = bytearray(content[:100_000])
    damaged[5] ^= 1
    part.write_bytes(damaged)
    site.cut = None
    with pytest.raises(DownloadError, match="sha256"):
        fetch(known, tmp_path, base_urls=[site.url], patience=QUICK)
    fetch(known, tmp_path, base_urls=[site.url], patience=QUICK)
    complete(tmp_path, content)


def test_a_file_that_changed_on_disk_is_noticed(
    tmp_path: Path, serve: Callable[..., Site], content: bytes
) -> None:
    fetch(MODELS, tmp_path, base_urls=[serve(content).url])
    (tmp_path / NAME).write_bytes(content[1:])
    with pytest.raises(DownloadError, match="when it was downloaded") as caught:
        fetch(MODELS, tmp_path)
    assert f"remove {NAME}.sha256" in caught.value.hint


def test_a_complete_part_needs_no_server(
    tmp_path: Path, serve: Callable[..., Site], content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the last byte and the rename."""
    site = serve(content)
    with monkeypatch.context() as patch:
        patch.setattr(
            library._Part, "publish", lambda self: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            fetch(MODELS, tmp_path, base_urls=[site.url])
    fetch(MODELS, tmp_path, base_urls=[site.url])
    complete(tmp_path, content)
    assert len(site.asked) == 1


@pytest.mark.parametrize("text", ["", "{", "[]", '{"url": 1, "x": 2}', "\0"])
def test_a_damaged_sidecar_starts_afresh(
    tmp_path: Path, serve: Callable[..., Site], content: bytes, text: str
) -> None:
    (tmp_path / f"{NAME}.part").write_bytes(b"junk")
    (tmp_path / f"{NAME}.part.json").write_text(text)
    fetch(MODELS, tmp_path, base_urls=[serve(content).url], patience=QUICK)
    complete(tmp_path, content)


def test_no_room_is_said_before_the_first_byte(tmp_path: Path, serve: Callable[..., Site]) -> None:
    site = serve(b"x")

    def huge(handler: Handler) -> bool:
        handler.begin(200, 1 << 60)
        handler.end_headers()
        return True

    site.script = [huge]
    with pytest.raises(OutputError, match="needs 1,152,921,504,606,846,976 bytes") as caught:
        fetch(MODELS, tmp_path, base_urls=[site.url], patience=QUICK)
    assert "make room" in caught.value.hint
    assert not list(tmp_path.iterdir())


CHILD = [sys.executable, "-c", "from seal_store.cli import main; main()", "fetch", "models"]


def test_a_full_disk_keeps_what_is_there(
    tmp_path: Path, serve: Callable[..., Site], content: bytes
) -> None:
    site = serve(content)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (120_000, 120_000))

    done = subprocess.run(
        [*CHILD, "--to", str(tmp_path), "--base-url", site.url, "--no-extract", "-q"],
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=limit,
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "File too large" in last
    assert "make room and run the same command again: what is there is kept" in last
    assert (tmp_path / f"{NAME}.part").stat().st_size == 120_000
    fetch(MODELS, tmp_path, base_urls=[site.url])
    complete(tmp_path, content)
    assert site.asked[1]["range"] == "bytes=120000-"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_in_mid_download_it_goes_on(
    tmp_path: Path, serve: Callable[..., Site], content: bytes, how: signal.Signals
) -> None:
    site = serve(content, pause=0.05)
    command = [*CHILD, "--to", str(tmp_path), "--base-url", site.url, "--no-extract", "-q"]
    part = tmp_path / f"{NAME}.part"
    child = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        # a test run in the background of a script ignores Ctrl-C, and so would its children
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not (part.exists() and part.stat().st_size > 50_000):
        assert child.poll() is None
        time.sleep(0.005)
    site.pause = 2.0
    child.send_signal(how)
    _, said = child.communicate(timeout=30)
    if how == signal.SIGINT:
        assert child.returncode == 130
        assert said.splitlines()[-1] == ("seal-store: error: interrupted; the same command goes on")
    else:
        assert child.returncode == -signal.SIGKILL
    size, site.pause = part.stat().st_size, 0.0
    assert 50_000 < size < len(content)
    fetch(MODELS, tmp_path, base_urls=[site.url])
    complete(tmp_path, content)
    assert site.asked[1]["range"] == f"bytes={size}-"


def test_two_at_once(tmp_path: Path, serve: Callable[..., Site], content: bytes) -> None:
    from seal_store.common.lock import hold

    with hold(tmp_path / NAME):
        done = subprocess.run(
            [*CHILD, "--to", str(tmp_path), "--base-url", serve(content).url],
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 1
    assert f"{NAME} is being written by process {os.getpid()}" in done.stderr


# the command


def refused(result: Result, *says: str) -> None:
    assert result.exit_code == 1, result.output
    line = result.stderr.splitlines()[-1]
    assert line.startswith("seal-store: error: ")
    for part in says:
        assert part in line
    assert "Traceback" not in result.stderr


def test_the_command_downloads_shows_the_licence_and_unpacks(
    cli: Callable[..., Result], tmp_path: Path, serve: Callable[..., Site]
) -> None:
    content = good(tmp_path / "a.tar.gz").read_bytes()
    site, to = serve(content), tmp_path / "to"
    first = cli("fetch", "--to", to, "--base-url", site.url, "--json", "-q")
    assert first.exit_code == 0, first.output
    assert "non-commercial" in first.stderr
    assert "10.5281/zenodo.14104608" in first.stderr
    facts = json.loads(first.stdout)
    assert [f["name"] for f in facts] == ["models", "resources"]
    assert [f["verified"] for f in facts] == [None, None]
    assert facts[0]["sha256"] == hashlib.sha256(content).hexdigest()
    assert tree(to / "seal_model") == tree(to / "seal_resource") == CONTENT
    again = cli("fetch", "models", "--to", to, "-q")
    assert "not verified: no checksum known; sha256 " in again.stdout
    assert "there already" in again.stdout
    assert "non-commercial" not in again.stderr
    assert len(site.asked) == 2


def test_no_extract_then_extract(
    cli: Callable[..., Result], tmp_path: Path, serve: Callable[..., Site]
) -> None:
    site = serve(good(tmp_path / "a.tar.gz").read_bytes())
    args = ("fetch", "models", "--to", tmp_path / "to", "-q")
    assert cli(*args, "--base-url", site.url, "--no-extract").exit_code == 0
    assert not (tmp_path / "to" / "seal_model").exists()
    assert cli(*args).exit_code == 0
    assert tree(tmp_path / "to" / "seal_model") == CONTENT


def test_an_unpacked_archive_may_be_removed(
    cli: Callable[..., Result], tmp_path: Path, serve: Callable[..., Site]
) -> None:
    site = serve(good(tmp_path / "a.tar.gz").read_bytes())
    args = ("fetch", "models", "--to", tmp_path / "to", "--base-url", site.url, "-q")
    assert cli(*args).exit_code == 0
    (tmp_path / "to" / NAME).unlink()
    assert "seal_model: there already" in cli(*args).stdout
    (facts,) = json.loads(cli(*args, "--json").stdout)
    assert facts["unpacked"] == str(tmp_path / "to" / "seal_model")
    assert cli(*args, "--offline").stdout == "nothing is left to download\n"
    assert len(site.asked) == 1
    assert cli(*args, "--no-extract").exit_code == 0
    assert len(site.asked) == 2


def test_retries_and_timeout_reach_the_download(
    cli: Callable[..., Result], tmp_path: Path, serve: Callable[..., Site], content: bytes
) -> None:
    site = serve(content)
    args = ("fetch", "models", "--to", tmp_path, "--base-url", site.url, "-q")

    def stall(handler: Handler) -> bool:
        time.sleep(0.5)
        return True

    site.script = [stall]
    refused(cli(*args, "--retries", 0, "--timeout", 0.1), "no answer in time")
    assert len(site.asked) == 1
    site.script = [status(503)] * 9
    refused(cli(*args, "--retries", 1), "status 503")
    assert len(site.asked) == 3


def test_an_archive_that_is_damaged_or_none(
    cli: Callable[..., Result], tmp_path: Path, serve: Callable[..., Site]
) -> None:
    site = serve(b"<html>sign in first</html>")
    result = cli("fetch", "models", "--to", tmp_path, "--base-url", site.url, "-q")
    refused(result, NAME, "damaged", "remove it and fetch it again")
    assert not (tmp_path / "seal_model").exists()


def test_offline_says_what_to_do_and_touches_nothing(
    cli: Callable[..., Result], tmp_path: Path
) -> None:
    to = tmp_path / "to"
    result = cli("fetch", "--to", to, "--offline")
    assert result.exit_code == 0
    for item in downloads().values():
        for part in (item.url, item.page, str(to / item.file)):
            assert part in result.stdout
    assert f"seal-store fetch models --to {to}" in result.stdout
    assert not to.exists()
    good(tmp_path / "to.tar.gz")
    to.mkdir()
    (tmp_path / "to.tar.gz").rename(to / NAME)
    facts = json.loads(cli("fetch", "--to", to, "--offline", "--json").stdout)
    assert [f["name"] for f in facts] == ["resources"]
    assert cli("fetch", "models", "--to", to, "-q").exit_code == 0
    assert tree(to / "seal_model") == CONTENT


def test_no_network(
    cli: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = ("fetch", "models", "--to", tmp_path, "-q", "--retries", "0")
    refused(
        cli(*args, "--base-url", closed_port()),
        "cannot be reached (Connection refused)",
        "--base-url",
        "--offline",
    )
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    refused(
        cli(*args, "--base-url", "https://no-such-host.invalid"),
        "https://no-such-host.invalid/seal_model.tar.gz: cannot be reached",
        "--offline",
    )
    assert not list(tmp_path.iterdir())


def test_wrong_folders_and_addresses(cli: Callable[..., Result], tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    refused(cli("fetch", "models", "--to", file, "-q"), str(file), "check --to")
    refused(cli("fetch", "models", "--to", file / "below", "-q"), str(file), "check --to")
    refused(
        cli("fetch", "models", "--to", tmp_path, "--base-url", "http://example.com", "-q"),
        "http without TLS",
        "https",
    )
    assert cli("fetch", "everything", "--to", tmp_path).exit_code == 2
    assert cli("fetch", "models").exit_code == 2
