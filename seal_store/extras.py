"""Packages that only some commands need, and how to get them."""

from __future__ import annotations

from importlib import import_module

from seal_store.errors import MissingExtraError

TRAIN = {"matplotlib": "matplotlib", "scipy": "scipy", "sklearn": "scikit-learn"}
"""Modules of the extra ``train`` and the packages they come in."""


def require_train() -> None:
    """Check that the extra ``train`` is installed, before an hour's work ends at its lack.

    Raises :class:`MissingExtraError` naming the first package that is not there.
    """
    for module, package in TRAIN.items():
        try:
            import_module(module)
        except ImportError as error:
            raise MissingExtraError(
                f"training needs {package}, which is not installed",
                "pip install 'seal-store[train]'",
            ) from error
