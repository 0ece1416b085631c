"""Exceptions. Every message says what is wrong, where, and (``hint``) what to do next."""

from __future__ import annotations


def printable(text: str) -> str:
    """``text`` with control and invisible characters escaped, fit for a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class SealStoreError(Exception):
    """Base class. ``str()`` is the message, ``hint`` what to do next (may be empty).

    A traceback, and so a notebook, shows the hint below the message, as a note.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint
        if hint:
            self.add_note(f"hint: {hint}")


class InputError(SealStoreError, ValueError):
    """Something the user gave is wrong."""


class ParameterError(InputError, TypeError):
    """A parameter has a value of another type, as ``batch="8"`` or gene 1.5."""


class GenomeError(InputError):
    """A FASTA file is missing, unreadable or lacks a contig."""


class GeneTableError(InputError):
    """A gene table is missing or malformed, or a gene is not in it."""


class VariantError(InputError):
    """A variant file cannot be read, or holds a variant that the chosen policy refuses."""


class LiftoverError(InputError):
    """A chain file is missing, damaged or of other assemblies than the variants or the store."""


class WeightsError(InputError):
    """CNN weights are missing, truncated or of another shape."""


class HeadsError(InputError):
    """A head set is missing, incomplete or does not fit the store."""


class ProfileError(InputError):
    """An imported gene profile has another shape or type."""


class TrainingError(InputError):
    """Expression, groups, features or options from which nothing can be trained or evaluated."""


class ArchiveError(InputError):
    """An archive is damaged, or holds what must not be unpacked."""


class DownloadError(SealStoreError, OSError):
    """A server cannot be reached, refuses, or sends something else than it should."""


class RemoteError(SealStoreError):
    """A bucket or web server cannot be reached, refuses, or does not send what it should."""


class OutputError(SealStoreError, OSError):
    """An output exists already or cannot be written."""


class MissingExtraError(SealStoreError, ImportError):
    """A package that only some commands need is not installed."""


class StoreError(SealStoreError):
    """A store or a results group cannot be used."""


class FormatError(StoreError):
    """Not a seal-store group, damaged metadata, or another format version."""


class UnfinishedError(StoreError):
    """Written in part: the process that wrote it did not finish."""
