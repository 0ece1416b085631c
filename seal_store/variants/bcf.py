"""BCF, read by cyvcf2 in a child process, whose death is an error message here.

The parent decompresses and sends plain BCF; the child answers with a line a record, ``V`` and
the columns CHROM, POS (1-based), ID, REF, ALT (of a structural variant those to FORMAT, or all of
them as VCF), and at the end ``E`` and how many there were.
Without that last line the records are not all there. ``X`` and a message ends them early.
"""

from __future__ import annotations

import io
import os
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from threading import Thread
from typing import IO, Any, cast

from seal_store.common.extras import require
from seal_store.errors import RemoteError, VariantError, printable
from seal_store.variants.header import contigs
from seal_store.variants.lines import DAMAGE, Line, damaged, text_lines
from seal_store.variants.structural import KINDS

MAGIC = b"BCF"
MAX_HEADER = 1 << 28
MAX_CONTIGS = 1 << 20
MEMORY = 4 << 30
"""Bytes of address space that the child may take."""

_BREAKS = frozenset("\t\n\r\0")


def bcf_lines(
    handle: io.BufferedReader[Any], where: str, *, whole: bool = False, header: bytes = b""
) -> Iterator[Line]:
    """Records of BCF as their first five columns, or as ``whole`` lines of VCF.

    They are numbered from 1, and separated by tabs. ``header`` is sent before what ``handle``
    gives. Memory does not grow with the file. Raises :class:`VariantError` if the child fails in
    any way.
    """
    require("htslib", "reading BCF")
    # One BLAS thread: its buffers, one a core, would count against the child's address space.
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(  # noqa: S603 - this interpreter, this module
            [sys.executable, "-P", "-m", __name__, "lines" if whole else "columns"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            env=environment,
        )
        errors: list[BaseException] = []
        given = (handle, header, child.stdin, errors)
        pump = Thread(target=_pump, args=given, daemon=True)
        answer = cast("io.BufferedReader[Any]", child.stdout)
        try:
            pump.start()
            lines = text_lines(answer, where, whole=whole)
            count, complete, problem = yield from _answered(lines)
            with suppress(subprocess.TimeoutExpired):
                child.wait(10)  # it has closed its end; how did it go?
        finally:
            child.kill()
            code = child.wait()
            answer.close()
            pump.join(1.0)
        if errors and isinstance(errors[0], RemoteError):
            raise errors[0]
        if errors:
            raise damaged(where, "record", count, errors[0]) from errors[0]
        if not complete:
            raise VariantError(
                f"{where}: BCF cannot be read after record {count}: "
                + (problem or _last_words(code, said)),
                "if it is damaged, copy or make it again",
            )


def _answered(lines: Iterable[Line]) -> Generator[Line, None, tuple[int, bool, str]]:
    """Records of the child's answer, each only when the next line shows that it is whole.

    Returns how many there were, whether the answer is complete, and what the child said if not.
    """
    count, held = 0, None
    for _, text, whole in lines:
        if held is not None:
            count += 1
            yield count, *held
        if text[:1] != b"V":
            said = printable(text[1:200].decode("utf-8", "replace"))
            return count, text == b"E%d" % count, said
        held = text[1:], whole
    return count, False, ""


def _last_words(code: int, said: IO[bytes]) -> str:
    said.seek(0, os.SEEK_END)
    said.seek(max(0, said.tell() - 2_000))
    lines = said.read().decode("utf-8", "replace").split("\n")
    last = next((line for line in reversed(lines) if line.strip()), "")
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"exit code {code}"
    return f"the process that reads it ended ({name})" + (f": {printable(last[:200])}" * bool(last))


def _pump(
    source: io.BufferedReader[Any], header: bytes, sink: IO[bytes], errors: list[BaseException]
) -> None:
    """Send bytes to the child until the source ends; ``errors`` gets what reading it raises."""
    with suppress(OSError, ValueError), sink:  # the child is gone: what it said last tells why
        try:
            sink.write(header)
            while block := source.read1(1 << 16):
                sink.write(block)
        except (*DAMAGE, RemoteError) as error:
            errors.append(error)


def read_header(handle: io.BufferedReader[Any], where: str) -> bytes:
    """The bytes of a BCF header: nine of magic and length, then its text.

    Raises :class:`VariantError` if it is cut short, damaged or not BCF 2.
    """
    try:
        start = handle.read(9)
        length = struct.unpack("<I", start[5:])[0] if len(start) == 9 else 0
        text = handle.read(length) if length <= MAX_HEADER else b""
    except DAMAGE as error:
        raise damaged(where, "record", 0, error) from error
    if start[:4] != MAGIC + b"\2" or not length or len(text) != length:
        raise _broken_header(where)
    return start + text


def record_starts(handle: io.BufferedReader[Any], numbers: Sequence[int]) -> list[int]:
    """The byte at which each of the records ``numbers`` begins, 1-based, ascending.

    ``handle`` gives all of a BCF, decompressed, which was read before.
    """
    found: list[int] = []
    place = len(read_header(handle, ""))
    for number in range(1, max(numbers, default=0) + 1):
        while len(found) < len(numbers) and numbers[len(found)] == number:
            found.append(place)
        lengths = handle.read(8)  # of the shared and of the individual part
        size = sum(struct.unpack("<II", lengths))
        handle.read(size)
        place += len(lengths) + size
    return found


def header_lines(header: bytes) -> list[bytes]:
    """The lines of a BCF header, without their ends; declarations have their ``IDX``."""
    return header[9:].rstrip(b"\0").splitlines()


def contig_names(header: bytes, where: str) -> list[str]:
    """The names of a BCF's contigs by index. Raises :class:`VariantError` for an odd index."""
    names: dict[int, str] = {}
    for fields in contigs(header_lines(header)):
        place = fields.get(b"IDX", b"%d" % len(names))
        if not place.isdigit() or len(place) >= 10 or int(place) >= MAX_CONTIGS:
            raise _broken_header(where)
        names[int(place)] = fields.get(b"ID", b"").decode("utf-8", "replace")
    return [names.get(i, "") for i in range(max(names, default=-1) + 1)]


def _broken_header(where: str) -> VariantError:
    return VariantError(f"{where}: BCF header is damaged", "copy or make it again")


def _columns(record: Any) -> str:
    fields = (record.CHROM, str(record.POS), record.ID or ".", record.REF or ".")
    line = "\t".join((*fields, ",".join(record.ALT) or "."))
    if line.count("\t") != 4 or not _BREAKS.isdisjoint(line.replace("\t", "")):
        raise ValueError("a tab or the end of a line within a column")
    if any("," in alt for alt in record.ALT):
        raise ValueError("a comma within an allele")
    return line


def _child(*, whole: bool) -> None:
    """Read BCF on stdin, write the answer on stdout: columns of records, or ``whole`` lines."""
    import resource

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends this one
    for limit, size in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CORE, 0)):
        with suppress(ValueError, OSError):  # a lower one is set already
            resource.setrlimit(limit, (size, size))
    from cyvcf2 import VCF

    count = 0
    out = sys.stdout
    out.reconfigure(encoding="utf-8", errors="replace", newline="\n")  # type: ignore[union-attr]
    try:
        records = VCF("-")
        for record in records:
            line = _columns(record)
            if whole or not KINDS.keys().isdisjoint(alt.upper() for alt in record.ALT):
                line = str(record).removesuffix("\n")
                if not whole:
                    line = "\t".join(line.split("\t", 9)[:9])
                if not _BREAKS.isdisjoint(line.replace("\t", "")):
                    raise ValueError("the end of a line within a column")
            out.write(f"V{line}\n")
            count += 1
    except BrokenPipeError:
        os._exit(1)  # the parent has gone; nothing is left to flush
    except Exception as error:
        words = " ".join(str(error).split()) or type(error).__name__
        out.write(f"X{words}\n")
    else:
        out.write(f"E{count}\n")
    out.flush()
    os._exit(0)  # without htslib's destructors


if __name__ == "__main__":
    _child(whole=sys.argv[1:] == ["lines"])
