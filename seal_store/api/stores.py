"""Building stores, opening stores and results."""

from __future__ import annotations

import os
from collections.abc import Sequence

from seal_store.common.progress import Progress, silent
from seal_store.common.typed import path as as_path
from seal_store.common.typed import paths as as_paths
from seal_store.results.group import Results
from seal_store.store.place import given_place
from seal_store.store.store import Store


def open(path: str | os.PathLike[str], *, cache: str | os.PathLike[str] | None = None) -> Store:
    """Open a store that ``seal-store build`` wrote, read only.

    ``path`` may be in a bucket or on a web server: ``s3://``, ``gs://``, ``az://``, ``https://``;
    what is read from there is kept in the local folder ``cache``, if one is given. Raises
    :class:`~seal_store.errors.UnfinishedError` if it was never finished,
    :class:`~seal_store.errors.FormatError` if it is none, damaged or of another version, and
    :class:`~seal_store.errors.RemoteError` if it cannot be reached.
    """
    return Store(given_place("path", path, cache))


def open_results(
    path: str | os.PathLike[str], *, cache: str | os.PathLike[str] | None = None
) -> Results:
    """Open a results group (``.zarr``) that ``seal-store score`` wrote, read only.

    ``path`` and ``cache`` are as in :func:`open`, which raises the same.
    """
    return Results(given_place("path", path, cache))


def build(
    out: str | os.PathLike[str],
    *,
    from_seal: str | os.PathLike[str] | None = None,
    genome: str | os.PathLike[str] | None = None,
    genes: str | os.PathLike[str] | None = None,
    cnn: str | os.PathLike[str] | None = None,
    features: str | os.PathLike[str] | None = None,
    heads: Sequence[str | os.PathLike[str]] = (),
    from_profiles: str | os.PathLike[str] | None = None,
    gene: Sequence[str] = (),
    near_vcf: str | os.PathLike[str] | None = None,
    tss: str = "gene",
    gene_type: Sequence[str] = (),
    first_offset: int = -19_900,
    keep_bits: int | None = None,
    hidden: bool = True,
    device: str = "auto",
    tf32: bool = False,
    workers: int | None = None,
    scheduler: str = "",
    overwrite: bool = False,
    resume: bool = False,
    work: str | os.PathLike[str] | None = None,
    progress: Progress | None = silent,
) -> Store:
    """Run the CNN over every gene's 40 kb and write a store, as ``seal-store build`` does.

    Once per genome: hours on a CPU for a whole one. The store appears only once it is whole.

    Parameters
    ----------
    out
        The store to write, ``.zarr``: a path, or an address of a bucket.
    from_seal
        Folder with Seal's files, as ``seal-store fetch`` leaves it: what is not named otherwise
        is found there.
    genome, genes, cnn
        FASTA, plain or bgzip; gene table (BED, GTF, GFF3 or geneanno CSV); CNN weights,
        ``deepsea.beluga.pth``. Needed without ``from_seal``.
    features
        Labels of another CNN's features: a TSV with columns ``name``, ``assay_type``, ``factor``,
        ``cell_type``, ``treatment``, a row each. By default the published ones for 2,002
        features, else numbers.
    heads
        Model summary files of head sets, or folders of them.
    from_profiles
        Take Seal's ``<gene>.npy`` profiles from this folder instead of running the CNN.
    gene
        Ids of the only genes to compute. The gene table in the store stays whole.
    near_vcf
        Compute only genes with a variant of this VCF within 20 kb.
    tss
        TSS of a GTF or GFF3: of each ``gene``, of its ``canonical`` transcript, or of every
        ``transcript``.
    gene_type
        Only genes of these types.
    first_offset
        Offset of window 0 from the TSS, bp.
    keep_bits
        Round features to this many mantissa bits; None is lossless.
    hidden
        Whether the first linear layer's output is stored: twice the size, faster scoring.
    device, tf32, workers, scheduler
        As in :func:`score`.
    overwrite
        Replace an existing ``out``.
    resume
        Go on with an unfinished build of the same inputs; a finished one is opened.
    work
        Folder in which an ``out`` in a bucket is made before it is sent, and unfinished work
        stays; by default the current one.
    progress
        Called as ``progress(what, done, total)`` from time to time.

    Returns
    -------
    Store
        Opened.

    Raises
    ------
    InputError
        An input is missing, damaged or does not fit the others; the message says which.
    OutputError
        ``out`` exists and neither ``overwrite`` nor ``resume`` is given, or is being written.
    """
    from seal_store.building.options import gather
    from seal_store.run.crew import Crew
    from seal_store.run.shards import build_with  # PyTorch: not needed to open a store

    paths = {
        name: None if given is None else as_path(name, given)
        for name, given in {
            "from_seal": from_seal,
            "genome": genome,
            "genes": genes,
            "cnn": cnn,
            "features": features,
            "from_profiles": from_profiles,
        }.items()
    }
    inputs = gather(
        given_place("out", out, work=work),
        **paths,
        near_vcf=None if near_vcf is None else given_place("near_vcf", near_vcf),
        heads=as_paths("heads", heads),
        gene=gene,
        tss=tss,
        gene_type=gene_type,
        first_offset=first_offset,
        keep_bits=keep_bits,
        hidden=hidden,
        overwrite=overwrite,
        resume=resume,
        command="seal_store.build",
    )
    crew = Crew(workers, scheduler, device)
    return build_with(inputs.options, crew, tf32=tf32, progress=progress or silent)
