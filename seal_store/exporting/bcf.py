"""BCF, made of lines of VCF by htslib in a child process, whose failure names the line.

The child reads VCF on its stdin and writes BCF to its stdout, record by record. Last it says on
stderr how many records it has written, and why not all of them. Its stderr is a file, where it
sees htslib's complaints too: htslib reports some failures in no other way.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from typing import IO, cast

from seal_store.errors import OutputError, printable

LAST_WORDS = 4_096
"""Bytes of what the child said that are looked at."""


class BcfWriter:
    """Takes lines of VCF and writes BCF to ``out``, a file with a descriptor; a context manager.

    Raises :class:`OutputError` naming the line in ``where`` of the record that htslib does not
    take, and :class:`BrokenPipeError` if nobody reads ``out`` any more.
    """

    def __init__(self, out: IO[bytes], where: str) -> None:
        self._where = where
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - until the child has ended
        self._child = subprocess.Popen(  # noqa: S603 - this interpreter, this module
            [sys.executable, "-P", "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=self._said,
        )
        self._records = 0
        self._offsets: list[tuple[int, int]] = []
        """From which record (0-based) on its line is so many further."""

    def __enter__(self) -> BcfWriter:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Wait until all of it is BCF, or after an exception end the child."""
        try:
            if kind is None:
                self._end()
        finally:
            self._child.kill()
            self._child.wait()
            with suppress(BrokenPipeError):
                self._sink.close()
            self._said.close()

    @property
    def _sink(self) -> IO[bytes]:
        return cast("IO[bytes]", self._child.stdin)

    def number(self, line: int) -> None:
        """Say which line of the input the next record is; 0 if that is not known."""
        offset = line - self._records
        if line and (not self._offsets or self._offsets[-1][1] != offset):
            self._offsets.append((self._records, offset))
        self._records += 1

    def write(self, data: bytes) -> None:
        """Send lines."""
        try:
            self._sink.write(data)
        except BrokenPipeError:
            self._end()
            raise

    def flush(self) -> None:
        """Send what is held."""
        try:
            self._sink.flush()
        except BrokenPipeError:
            self._end()
            raise

    def _end(self) -> None:
        """Wait for the child. Raises what it ended with."""
        with suppress(BrokenPipeError):
            self._sink.close()
        code = self._child.wait()
        if code == -signal.SIGPIPE:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        size = self._said.seek(0, os.SEEK_END)
        self._said.seek(max(0, size - LAST_WORDS))
        said = self._said.read().decode("utf-8", "replace").strip().rpartition("\n")[2]
        count, _, why = said.partition(" ")
        if code or why or not count.isdigit() or int(count) != self._records:
            raise self._failure(int(count) if count.isdigit() else None, why or f"code {code}")

    def _failure(self, record: int | None, why: str) -> OutputError:
        """The error for a 0-based ``record``, or the header."""
        place = ""
        if record is not None:
            offsets = [offset for first, offset in self._offsets if first <= record]
            place = f"{record + offsets[-1]}: " if offsets else f" record {record + 1}: "
        return OutputError(
            f"{self._where}:{place}htslib does not take it as BCF ({printable(why[:300])})",
            "write .vcf.gz, or leave the line out",
        )


def _child() -> None:
    """Turn VCF on stdin into BCF on stdout."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends this one
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    from cyvcf2 import VCF, Writer

    count: int | str = "header"
    why = ""
    try:
        source = VCF("-")
        out = Writer("-", source, "wb")
        out.write_header()
        declared = set(source.seqnames)
        count = 0
        for record in source:
            if record.CHROM not in declared:
                raise ValueError(f"contig {record.CHROM} is not declared in the header")
            out.write_record(record)
            if why := _complaint():
                break
            count += 1
        else:
            out.close()
            why = _complaint()
    except Exception as error:
        why = _complaint() or " ".join(str(error).split()) or type(error).__name__
        if "errorcode: 2" in why:
            why = "it has a FILTER, INFO or FORMAT that the header does not declare"
    os.write(2, f"\n{count} {why}".encode())
    os._exit(bool(why))  # without htslib's destructors


def _complaint() -> str:
    """What htslib has said on stderr of a failure, or of a value that it dropped."""
    if not (size := os.fstat(2).st_size):
        return ""
    lines = os.pread(2, size, 0).decode("utf-8", "replace").splitlines()
    os.ftruncate(2, 0)
    os.lseek(2, 0, os.SEEK_SET)
    odd = (line for line in lines if "[E::" in line or "set to missing" in line)
    return next(odd, "").partition("] ")[2]


if __name__ == "__main__":
    _child()
