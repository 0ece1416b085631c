"""Malicious, damaged and cut archives: refused, named, nothing left behind."""

from __future__ import annotations

import gzip
import io
import os
import resource
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from seal_store.errors import ArchiveError, OutputError
from seal_store.fetch import archive
from seal_store.fetch.archive import Limits, extract

MEGABYTE = 1 << 20
CONTENT = {
    "model/one/a.txt": b"first\n",
    "model/one/b.npy": bytes(range(256)) * 40,
    "model/empty": b"",
    "model/Ünï cödé 'quoted' $HOME;rm -rf.txt": b"odd\n",
    "-rf": b"dash\n",
}


def member(name: str, kind: bytes = tarfile.REGTYPE, **facts: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    for key, value in facts.items():
        setattr(info, key, value)
    return info


def tar(path: Path, *members: tuple[tarfile.TarInfo, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as out:
        for info, content in members:
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))
    return path


def good(path: Path, content: dict[str, bytes] = CONTENT) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
            out.mkdir("folder")
            for name, data in content.items():
                out.writestr(name, data)
        return path
    rows = [(member("./", tarfile.DIRTYPE), b""), (member("folder", tarfile.DIRTYPE), b"")]
    rows += [(member(f"./{name}"), data) for name, data in content.items()]
    return tar(path, *rows, mode="w:gz" if path.suffix == ".gz" else "w")


def tree(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def listing(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., str]:
    """Unpacking fails with one line that names what it should; nothing is left anywhere."""

    def check(path: Path, *says: str, limits: Limits | None = None) -> str:
        before = listing(tmp_path)
        with pytest.raises(ArchiveError) as caught:
            extract(path, tmp_path / "into", limits)
        assert listing(tmp_path) == before
        text = f"{caught.value}; {caught.value.hint}"
        assert "\n" not in text
        assert str(path) in text
        for part in says:
            assert part in text, text
        return text

    return check


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.zip"])
def test_unpacks_every_file(tmp_path: Path, name: str) -> None:
    steps: list[tuple[str, int, int | None]] = []
    done = extract(
        good(tmp_path / name), tmp_path / "deep" / "into", progress=lambda *step: steps.append(step)
    )
    assert tree(done.folder) == CONTENT
    assert (done.folder / "folder").is_dir()
    assert (done.files, done.size) == (5, sum(map(len, CONTENT.values())))
    assert steps[-1] == ("files", 5, None)
    assert sorted(p.name for p in (tmp_path / "deep").iterdir()) == ["into"]
    with pytest.raises(OutputError, match="exists already"):
        extract(tmp_path / name, tmp_path / "deep" / "into")


def test_unpacks_where_a_killed_run_left_its_folder(tmp_path: Path) -> None:
    (tmp_path / "into.partial" / "into.new").mkdir(parents=True)
    (tmp_path / "into.partial" / "into.new" / "stale").symlink_to("nowhere")
    extract(good(tmp_path / "a.tar.gz"), tmp_path / "into")
    assert tree(tmp_path / "into") == CONTENT
    assert not (tmp_path / "into.partial").exists()


def test_a_folder_of_somebody_else_is_not_removed(tmp_path: Path) -> None:
    theirs = tmp_path / "into.partial" / "note"
    theirs.parent.mkdir()
    theirs.write_text("x")
    with pytest.raises(OutputError, match="into.partial is in the way"):
        extract(good(tmp_path / "a.tar.gz"), tmp_path / "into")
    assert theirs.read_text() == "x"
    assert not (tmp_path / "into").exists()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("../evil", "'..'"),
        ("ok/../../evil", "'..'"),
        ("ok/..", "'..'"),
        ("/tmp/evil", "absolute"),
        ("//evil", "absolute"),
        ("a\\..\\evil", "backslash"),
        ("C:\\evil", "backslash"),
        ("line\nbreak", "control character"),
        ("\x1b[2Jclear", "control character"),
        ("x" * 256, "too long"),
        ("d/" * 40 + "f", "too long"),
    ],
)
def test_names_that_lead_elsewhere(tmp_path: Path, refused: Callable, name: str, says: str) -> None:
    path = tar(tmp_path / "a.tar", (member("fine"), b"1"), (member(name), b"2"))
    text = refused(path, says)
    assert repr(name)[:200] in text
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        out.writestr("fine", b"1")
        out.writestr(name, b"2")
    refused(tmp_path / "a.zip", says)


def test_a_name_with_a_nul(tmp_path: Path, refused: Callable) -> None:
    info = member("x")
    info.pax_headers = {"path": "a\0b"}
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as out:
        out.addfile(info)
    refused(path, "control character")


@pytest.mark.parametrize(
    "goal", ["/etc/passwd", "..", "../evil", "a/../../..", "model/..", "../../etc/passwd"]
)
def test_symbolic_links_out_of_the_folder(tmp_path: Path, refused: Callable, goal: str) -> None:
    link = member("link", tarfile.SYMTYPE, linkname=goal)
    refused(tar(tmp_path / "a.tar", (member("model/x"), b"1"), (link, b"")), "'link'")


def test_nothing_is_written_through_a_link(tmp_path: Path, refused: Callable) -> None:
    (tmp_path / "outside").mkdir()
    for goal in (str(tmp_path / "outside"), "../outside", "model"):
        link = member("link", tarfile.SYMTYPE, linkname=goal)
        rows = [(member("model/x"), b"1"), (link, b""), (member("link/pwned"), b"2")]
        refused(tar(tmp_path / "a.tar", *rows), "'link")
        rows = [(link, b""), (member("link"), b"2")]
        refused(tar(tmp_path / "a.tar", *rows), "'link'")
    assert not list((tmp_path / "outside").iterdir())
    deep = member("a/b/link", tarfile.SYMTYPE, linkname="../../model")
    rows = [(member("model/x"), b"1"), (deep, b""), (member("a/b/link/y/z"), b"2")]
    refused(tar(tmp_path / "a.tar", *rows), "'a/b/link/y/z' lies below a file or a link")


def test_a_chain_of_links_does_not_climb(tmp_path: Path, refused: Callable) -> None:
    """d -> e/f stays inside; d/.. by name is the root, by the file system it is e."""
    rows = [
        (member("e/f/x"), b"1"),
        (member("d", tarfile.SYMTYPE, linkname="e/f"), b""),
        (member("up", tarfile.SYMTYPE, linkname="d/../../.."), b""),
    ]
    refused(tar(tmp_path / "a.tar", *rows), "'up'")


def test_links_inside_the_folder_are_kept(tmp_path: Path) -> None:
    rows = [
        (member("a/file"), b"1"),
        (member("b/soft", tarfile.SYMTYPE, linkname="../a/file"), b""),
        (member("a/hard", tarfile.LNKTYPE, linkname="a/file"), b""),
    ]
    folder = extract(tar(tmp_path / "a.tar.gz", *rows, mode="w:gz"), tmp_path / "into").folder
    assert (folder / "b" / "soft").readlink() == Path("../a/file")
    assert (folder / "b" / "soft").read_bytes() == (folder / "a" / "hard").read_bytes() == b"1"


@pytest.mark.parametrize("goal", ["/etc/passwd", "../secret", "later", "link", "folder"])
def test_hard_links_only_to_earlier_files(tmp_path: Path, refused: Callable, goal: str) -> None:
    (tmp_path / "secret").write_text("secret")
    rows = [
        (member("folder", tarfile.DIRTYPE), b""),
        (member("file"), b"1"),
        (member("link", tarfile.SYMTYPE, linkname="file"), b""),
        (member("hard", tarfile.LNKTYPE, linkname=goal), b""),
        (member("later"), b"2"),
    ]
    refused(tar(tmp_path / "a.tar", *rows), "'hard'")


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"Z"])
def test_devices_and_pipes(tmp_path: Path, refused: Callable, kind: bytes) -> None:
    if kind == b"Z":  # written as a file, then given a type that is not known
        path = tar(tmp_path / "a.tar", (member("odd"), b""))
        header = bytearray(path.read_bytes())
        header[156:157] = b"S"  # a GNU sparse file
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header[:512])
        path.write_bytes(header)
        refused(path, "'odd'")
        return
    odd = member("odd", kind, devmajor=1, devminor=8)
    refused(tar(tmp_path / "a.tar", (odd, b"")), "'odd' is a device")


def test_special_members_of_a_zip(tmp_path: Path, refused: Callable) -> None:
    for mode in (0o120777, 0o020666, 0o010644):
        info = zipfile.ZipInfo("odd")
        info.external_attr = mode << 16
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
            out.writestr(info, "/etc/passwd")
        refused(tmp_path / "a.zip", "'odd' is a link, a device")
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_LZMA) as out:
        out.writestr("packed", b"1" * 100)
    refused(tmp_path / "a.zip", "'packed' is compressed by method 14")
    info = zipfile.ZipInfo("locked")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        out.writestr(info, b"1")
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    refused(tmp_path / "a.zip", "'locked' is encrypted")


def test_the_same_name_twice(tmp_path: Path, refused: Callable) -> None:
    rows = [(member("x"), b"1"), (member("./x"), b"2")]
    refused(tar(tmp_path / "a.tar", *rows), "'./x' is there twice")
    refused(tar(tmp_path / "a.tar", (member("x"), b"1"), (member("x/y"), b"2")), "below a file")
    refused(tar(tmp_path / "a.tar", (member("x/y"), b"1"), (member("x"), b"2")), "twice")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        out.writestr("x", b"1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            out.writestr("x", b"2")
    refused(tmp_path / "a.zip", "'x' is there twice")


def test_limits(tmp_path: Path, refused: Callable) -> None:
    for path in (good(tmp_path / "a.tar.gz"), good(tmp_path / "a.zip")):
        size = sum(map(len, CONTENT.values()))
        refused(path, f"{size - 1:,}", limits=Limits(size=size - 1))
        refused(path, "3 members", limits=Limits(members=3))
        extract(path, tmp_path / path.stem, Limits(size=size, members=7))


def peak_memory(code: str, *args: object) -> tuple[int, str]:
    """Peak of a child process in bytes, and what it printed."""
    script = f"import resource\n{code}\nprint(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, args)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    *said, peak = done.stdout.splitlines()
    return int(peak) * 1024, "\n".join(said)


ATTEMPT = """
import sys, shutil
from pathlib import Path
from seal_store.fetch.archive import extract
from seal_store.errors import ArchiveError
path = Path(sys.argv[1])
try:
    extract(path, path.parent / "into")
except ArchiveError as error:
    print(error)
"""


def gigabytes_of_zeros(path: Path, gigabytes: int) -> Path:
    """A zip of a file that inflates to that much; made from one deflated block, repeated."""
    import zlib

    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = bytes(64 * MEGABYTE)
    block = packer.compress(zeros) + packer.flush(zlib.Z_FULL_FLUSH)
    repeat = packer.compress(zeros) + packer.flush(zlib.Z_FULL_FLUSH)
    times = gigabytes * 16
    body = block + repeat * (times - 1) + packer.flush()
    info = zipfile.ZipInfo("zeros.npy")
    info.compress_type = zipfile.ZIP_DEFLATED
    info.file_size, info.compress_size, info.CRC = times * len(zeros), len(body), 0
    with zipfile.ZipFile(path, "w", allowZip64=True) as out:
        info.header_offset = out.fp.tell()
        out.fp.write(info.FileHeader(zip64=True) + body)
        out.filelist.append(info)
        out.NameToInfo[info.filename] = info
        out.start_dir = out.fp.tell()
        out._didModify = True
    return path


@pytest.fixture(scope="module")
def plain() -> int:
    """Peak memory of a process that unpacks nothing."""
    return peak_memory("import seal_store.fetch.archive")[0]


def test_a_zip_bomb_stops_before_it_fills_anything(tmp_path: Path, plain: int) -> None:
    path = gigabytes_of_zeros(tmp_path / "bomb.zip", 10)
    assert path.stat().st_size < 12 * MEGABYTE
    with zipfile.ZipFile(path) as found:
        assert found.infolist()[0].file_size == 10 << 30
    peak, said = peak_memory(ATTEMPT, path)
    assert "'zeros.npy' and the others unpack to more than 100 times" in said
    assert peak < plain + 40 * MEGABYTE
    with pytest.raises(ArchiveError, match="'zeros.npy' and the others unpack to 10,737,418,240"):
        extract(path, tmp_path / "into", Limits(size=1 << 30))
    assert listing(tmp_path) == ["bomb.zip"]


def test_a_tar_bomb_stops_at_the_ratio(tmp_path: Path, refused: Callable) -> None:
    path = tmp_path / "bomb.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=1) as out:
        out.addfile(member("zeros", size=140 * MEGABYTE), _Zeros(140 * MEGABYTE))
    refused(path, "'zeros'", "more than 100 times")
    refused(path, "goes beyond 1,000 bytes", limits=Limits(size=1_000))


class _Zeros(io.RawIOBase):
    def __init__(self, size: int) -> None:
        self.left = size

    def read(self, size: int = -1) -> bytes:
        size = min(size, self.left)
        self.left -= size
        return bytes(size)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_of_a_gigabyte_takes_no_memory(tmp_path: Path, kind: bytes, plain: int) -> None:
    path = tmp_path / "a.tar.gz"
    info = member("h", kind, size=1 << 30)
    with gzip.open(path, "wb", compresslevel=1) as out:
        out.write(info.tobuf(tarfile.GNU_FORMAT))
        for _ in range(20):
            out.write(bytes(MEGABYTE))
    peak, said = peak_memory(ATTEMPT, path)
    assert "that are no file's content" in said
    assert peak < plain + 40 * MEGABYTE


def header(kind: bytes, content: bytes, name: str = "h") -> bytes:
    """A header of a tar and what belongs to it."""
    start = member(name, kind, size=len(content)).tobuf(tarfile.USTAR_FORMAT)
    return start + content + bytes(-len(content) % 512)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_chain_of_headers_is_refused(
    tmp_path: Path, refused: Callable, monkeypatch: pytest.MonkeyPatch, kind: bytes
) -> None:
    content = b"abc\0" if kind == tarfile.GNUTYPE_LONGNAME else b"14 comment=ab\n"
    chain = header(kind, content) * 1500 + header(tarfile.REGTYPE, b"1")
    with gzip.open(tmp_path / "a.tar.gz", "wb") as out:
        out.write(chain + bytes(1024))
    refused(tmp_path / "a.tar.gz", "that are no file's content")
    monkeypatch.setattr(archive, "HEADERS", 4 * MEGABYTE)
    refused(tmp_path / "a.tar.gz", "too many headers before one member")


def test_extended_headers_are_counted(tmp_path: Path, refused: Callable) -> None:
    path = tmp_path / "a.tar.gz"
    for keys, at_once in ((200, True), (200, False), (101, False)):
        records = [b"7 %03d=\n" % k for k in range(keys)]
        rows = [b"".join(records)] if at_once else records
        data = b"".join(
            header(tarfile.XGLTYPE, row) + header(tarfile.REGTYPE, b"", f"{i}")
            for i, row in enumerate(rows)
        )
        path.write_bytes(gzip.compress(data + bytes(1024)))
        refused(path, f"member '{0 if at_once else 100}' has more than 100 extended headers")
    path.write_bytes(gzip.compress(data.replace(b"7 100=", b"7 099=") + bytes(1024)))
    assert extract(path, tmp_path / "into").files == 101


def test_headers_count_against_the_limits(
    tmp_path: Path, refused: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.tar.gz"
    comment = header(tarfile.XHDTYPE, b"200008 comment=" + b"a" * 199_992 + b"\n")
    data = b"".join(comment + header(tarfile.REGTYPE, b"1", f"{i}") for i in range(20))
    path.write_bytes(gzip.compress(data + bytes(1024)))
    monkeypatch.setattr(archive, "SLACK", MEGABYTE)
    refused(path, "its headers take", limits=Limits(size=MEGABYTE))
    refused(path, "its headers take", limits=Limits(ratio=20))
    assert extract(path, tmp_path / "into", Limits(ratio=1000)).files == 20


def test_what_tarfile_keeps_of_a_member_is_dropped(tmp_path: Path) -> None:
    """200 members with 100 kB of headers each."""
    path = tmp_path / "a.tar.gz"
    comment = header(tarfile.XHDTYPE, b"100008 comment=" + b"a" * 99_992 + b"\n")
    with gzip.open(path, "wb", compresslevel=1) as out:
        for i in range(200):
            out.write(comment + header(tarfile.REGTYPE, b"1", f"{i}"))
        out.write(bytes(1024))
    tracemalloc.start()
    extract(path, tmp_path / "into")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * MEGABYTE


def test_sizes_that_do_not_add_up(tmp_path: Path, refused: Callable) -> None:
    path = tar(tmp_path / "a.tar", (member("x"), b"1" * 600))
    data = path.read_bytes()
    for size in (b"\x80" + bytes(5) + b"\x7f" + b"\xff" * 5, b"\xff" * 12):
        header = bytearray(data[:512])
        header[124:136] = size
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        path.write_bytes(bytes(header) + data[512:])
        refused(path)


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.zip"])
def test_cut_short_at_any_place(tmp_path: Path, refused: Callable, name: str) -> None:
    path = good(tmp_path / name)
    data = path.read_bytes()
    # the padding after a tar's end mark may be lost
    last = len(data.rstrip(b"\0")) // 512 * 512 + 512 if name == "a.tar" else len(data) - 1
    edges = {0, 1, 100, 512, 1024, 2560, last // 2 // 512 * 512, last}
    for size in sorted(edges | set(range(0, last, max(1, last // 25)))):
        if size <= last:
            path.write_bytes(data[:size])
            refused(path, "damaged or cut short")


@pytest.mark.parametrize("name", ["a.tar.gz", "a.zip"])
def test_a_flipped_bit_is_an_error_or_does_no_harm(
    tmp_path: Path, rng: np.random.Generator, name: str
) -> None:
    data = bytearray(good(tmp_path / name).read_bytes())
    path, into, errors = tmp_path / f"flipped.{name}", tmp_path / "into", 0
    for place in rng.choice(len(data) * 8, 60, replace=False):
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << (place % 8)
        path.write_bytes(flipped)
        try:
            extract(path, into)
        except (ArchiveError, OutputError) as error:
            assert "\n" not in str(error)  # noqa: PT017
            errors += 1
        else:
            assert tree(into) == CONTENT
            archive.remove(into)
        assert sorted(p.name for p in tmp_path.iterdir()) == sorted([name, path.name])
    assert errors > 30


def test_a_zip_directory_whose_comment_hides_members(tmp_path: Path, refused: Callable) -> None:
    data = bytearray(good(tmp_path / "a.zip").read_bytes())
    first, end = data.index(b"PK\x01\x02"), data.rindex(b"PK\x05\x06")
    hidden = end - data.index(b"PK\x01\x02", first + 1)
    data[first + 32 : first + 34] = hidden.to_bytes(2, "little")
    (tmp_path / "a.zip").write_bytes(data)
    refused(tmp_path / "a.zip", "does not list all members")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "damaged"),
        (b"<html>not found</html>", "damaged"),
        (b"\x28\xb5\x2f\xfd....", "zstd"),
        (b"PK\x03\x04", "damaged"),
        (b"\x1f\x8b\x08", "damaged"),
        (gzip.compress(b"no tar in here", mtime=0), "damaged"),
        (bytes(9_000_000), "that are no file's content"),
    ],
)
def test_what_is_no_archive(tmp_path: Path, refused: Callable, content: bytes, says: str) -> None:
    (tmp_path / "a.tar.gz").write_bytes(content)
    refused(tmp_path / "a.tar.gz", says)


def test_a_missing_archive(tmp_path: Path, refused: Callable) -> None:
    refused(tmp_path / "none.tar.gz", "archive not found")


def test_a_member_for_which_there_is_no_room(tmp_path: Path) -> None:
    header = member("huge", size=1 << 60).tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "a.tar").write_bytes(header + bytes(1024))
    with pytest.raises(OutputError, match="'huge' needs 1,152,921,504,606,846,976 bytes") as caught:
        extract(tmp_path / "a.tar", tmp_path / "into", Limits(size=1 << 61, ratio=1 << 60))
    assert "make room" in caught.value.hint
    assert listing(tmp_path) == ["a.tar"]


def test_a_full_disk_leaves_nothing_and_says_so(tmp_path: Path) -> None:
    path = good(tmp_path / "a.tar.gz")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000))

    code = ATTEMPT.replace("ArchiveError", "OutputError") + "    print(error.hint)\n"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=limit,
    )
    assert done.returncode == 0, done.stderr
    assert "cannot be unpacked" in done.stdout
    assert "make room" in done.stdout
    assert os.listdir(tmp_path) == ["a.tar.gz"]
