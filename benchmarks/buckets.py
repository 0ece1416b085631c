"""What a store in a bucket costs: bytes moved for one gene, time beside a local store.

The bucket is moto's S3 server on loopback, a process of its own, behind a proxy that counts.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT, arguments, report, seconds, world
from benchmarks.memory import write_vcf
from seal_store.building.build import build
from seal_store.run.scores import write_scores
from seal_store.scoring.options import ScoreOptions
from seal_store.scoring.scorer import Scorer
from seal_store.store.place import place
from seal_store.store.store import Store
from seal_store.synthetic import random_bases, write_fasta
from seal_store.variants.source import read_variants

sys.path.append(str(ROOT / "tests"))

from cloud import SETTINGS, Proxy, make_bucket, s3_server, serving, upload  # type: ignore[import-not-found]  # isort: skip  # tests are no package

ARGUMENTS = {"variants": 1_000, "repeat": 3}

WEIGHTS = ("cnn", "heads")

GENES, TABLE = 8, 24_000
"""Genes that are computed, and genes of the table, about those of a genome."""


def whole_table(args: Any) -> Store:
    """The benchmark's store, with a gene table as long as a genome's."""
    options = world(args, GENES).options
    out = args.work / f"table-{args.tiny}.zarr"
    if not out.exists():
        genome, genes = (args.work / f"table.{end}" for end in ("fa", "bed"))
        spacing = 60_000
        first = random_bases(spacing * (GENES + 1), 1)
        write_fasta(genome, {"chr1": first, "chr2": random_bases(50 * TABLE, 2)})
        more = [f"chr2\t{50 * i}\t{50 * i + 1}\t+\tENSG{i:011d}\n" for i in range(TABLE)]
        genes.write_text(options.genes.read_text() + "".join(more), encoding="utf-8")
        named = tuple(f"G{i:04d}" for i in range(1, GENES + 1))
        build(replace(options, out=out, genome=genome, genes=genes, gene=named), args.device)
    return Store(out)


def score(store: str | Path, vcf: Path, args: Any, cache: Path | None = None) -> None:
    """From opening the store to the last row."""
    opened = Store(place(store, cache))
    options = ScoreOptions(device=args.device)
    write_scores(
        Scorer(opened, options), read_variants(vcf), args.work / "buckets.tsv", overwrite=True
    )


def moved(store: Store, args: Any, port: int) -> list[dict[str, Any]]:
    """Bytes of ten variants of one gene: plain, with a cache that is empty, and that is not."""
    ten, cache = args.work / "ten.vcf", args.work / "cache"
    write_vcf(ten, store, 10 * GENES)
    ten.write_text("".join(ten.read_text().splitlines(keepends=True)[:10]))
    shutil.rmtree(cache, ignore_errors=True)
    weights = sum(e["size"] for n, e in store.listed.items() if n.split("/")[0] in WEIGHTS)
    proxy, rows = Proxy(port), []
    with serving(proxy.handler()) as endpoint:
        address = there("counted", endpoint, store, port)
        for what, kept in (("no --cache", None), ("an empty --cache", cache), ("again", cache)):
            sent, asked = proxy.sent, len(proxy.requests)
            score(address, ten, args, kept)
            rows.append(
                {
                    "10 variants of one gene": what,
                    "MB moved": (proxy.sent - sent) / 1e6,
                    "of them weights": weights / 1e6 if what != "again" else 0.0,
                    "requests": len(proxy.requests) - asked,
                }
            )
    return rows


def timed(store: Store, args: Any, port: int) -> list[dict[str, Any]]:
    """Time from the bucket and from the disk, the shortest of each, one after the other."""
    many = args.work / "many.vcf"
    write_vcf(many, store, args.variants)
    address = there("timed", f"http://127.0.0.1:{port}", store, port)
    far, near = [], []
    for _ in range(args.repeat):
        far.append(seconds(partial(score, address, many, args)))
        near.append(seconds(partial(score, str(store.path), many, args)))
    return [
        {
            "variants": args.variants,
            "s, bucket": min(far),
            "s, local": min(near),
            "times": min(far) / min(near),
        }
    ]


def there(bucket: str, endpoint: str, store: Store, port: int) -> str:
    """Address of a copy of ``store`` in a new bucket, which is reached by ``endpoint``."""
    os.environ.update(SETTINGS, AWS_ENDPOINT_URL=endpoint)
    make_bucket(port, bucket)
    upload(Path(str(store.path)), f"s3://{bucket}/store.zarr")
    return f"s3://{bucket}/store.zarr"


def main() -> None:
    more = [(f"--{name}", {"type": int, "default": n}) for name, n in ARGUMENTS.items()]
    args = arguments(__doc__ or "", *more)
    store = whole_table(args)
    with s3_server(args.work) as port:
        rows = moved(store, args, port)
        report("buckets", f"A store in a bucket, gene table of {TABLE:,}: bytes", rows, args)
        if args.variants:
            rows = timed(store, args, port)
            report("buckets_time", "A store in a bucket: time", rows, args)


if __name__ == "__main__":
    main()
