"""The name of what lies in a bucket or on a web server: joined and printed as a path is."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

Entry = dict[str, Any]
"""``{"sha256": hex, "size": bytes}``"""

WORK = "seal-store-work"
"""Folder of what is to be written to buckets and is not there yet."""


@dataclass(frozen=True)
class Address:
    """A place in a bucket or on a web server: ``s3://bucket/stores/hg19.zarr``.

    ``cache`` is a local folder in which what is read from there is kept, ``work`` one in which
    what is to be written there is made.
    """

    url: str
    cache: Path | None = field(default=None, compare=False)
    work: Path | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return self.url

    def __fspath__(self) -> str:
        """Names no local file: what works on these alone refuses it."""
        return self.url

    def __truediv__(self, name: str) -> Address:
        return replace(self, url=f"{self.url}/{name}")

    @property
    def root(self) -> str:
        """The bucket, or the server: ``s3://bucket``."""
        return "/".join(self.url.split("/")[:3])

    @property
    def key(self) -> str:
        """The path in the bucket, or on the server."""
        return self.url[len(self.root) + 1 :]

    @property
    def name(self) -> str:
        """The last part of the path."""
        return PurePosixPath(self.key).name

    @property
    def suffix(self) -> str:
        """The ending of :attr:`name`, with its dot."""
        return PurePosixPath(self.key).suffix

    def with_name(self, name: str) -> Address:
        """What stands beside it under another name."""
        return replace(self, url=f"{self.url[: -len(self.name)]}{name}")

    @property
    def local(self) -> Path:
        """Beside it what is to be written there is made; by default where the process is."""
        scheme, _, below = self.url.partition("://")
        return (self.work or Path()).absolute() / WORK / scheme / below

    def resolve(self) -> Address:
        """Itself: there are no links."""
        return self
