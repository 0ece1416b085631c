"""Optional dependencies: checked before work begins, with the command that installs them."""

from __future__ import annotations

from importlib import import_module

from seal_store.errors import MissingExtraError

EXTRAS = {
    "anndata": {"anndata": "anndata"},
    "attribution": {"captum": "captum"},
    "bigwig": {"pyBigWig": "pyBigWig"},
    "cloud": {"obstore": "obstore"},
    "dask": {"distributed": "distributed"},
    "explore": {
        "starlette": "starlette",
        "uvicorn": "uvicorn",
        "altair": "altair",
        "jinja2": "jinja2",
        "vl_convert": "vl-convert-python",
        "xarray": "xarray",
    },
    "htslib": {"cyvcf2": "cyvcf2", "pysam": "pysam"},
    "liftover": {"liftover": "liftover"},
    "parquet": {"pyarrow": "pyarrow"},
    "plot": {
        "altair": "altair",
        "jinja2": "jinja2",
        "vl_convert": "vl-convert-python",
        "xarray": "xarray",
    },
    "study": {"pandas": "pandas", "scipy": "scipy", "sklearn": "scikit-learn"},
    "train": {"matplotlib": "matplotlib", "scipy": "scipy", "sklearn": "scikit-learn"},
    "xarray": {"xarray": "xarray"},
}
"""Per extra of this package: modules, and the packages they come in."""


def require(extra: str, what: str) -> None:
    """Check that an extra is installed, before an hour's work ends at its lack.

    ``what`` needs it. Raises :class:`MissingExtraError` naming the first package not there.
    """
    for module, package in EXTRAS[extra].items():
        try:
            import_module(module)
        except ImportError as error:
            raise MissingExtraError(
                f"{what} needs {package}, which is not installed",
                f"pip install 'seal-store[{extra}]'",
            ) from error
