"""The CRC-32C that ends each chunk and each index of a shard."""

from __future__ import annotations

import google_crc32c

CRC = 4
"""Bytes of the checksum."""


def with_crc(data: bytes) -> bytes:
    """``data`` and its checksum."""
    return data + google_crc32c.value(data).to_bytes(CRC, "little")


def ends_with_crc(data: bytes) -> bool:
    """Whether ``data`` end with the checksum of what stands before it."""
    found = int.from_bytes(data[-CRC:], "little")
    return len(data) >= CRC and google_crc32c.value(data[:-CRC]) == found
