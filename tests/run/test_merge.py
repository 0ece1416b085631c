"""Results that were made apart, merged: the rows of one run, and what each was made of."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from interrupted import files
from seldom import slow

from seal_store.check.verify import verify
from seal_store.errors import InputError, OutputError
from seal_store.exporting.render import Form, export
from seal_store.results.group import Results
from seal_store.run.job import Prepared, ScoreJob
from seal_store.run.merge import merge
from seal_store.run.scores import write_scores
from seal_store.scoring.options import AttributionOptions, ScoreOptions
from seal_store.store.store import Store
from seal_store.synthetic import World
from seal_store.variants.regions import chosen


@pytest.fixture
def job(store: Store, world: World, tmp_path: Path) -> ScoreJob:
    options = ScoreOptions(device="cpu", genes="all", batch=1)
    return ScoreJob(store.path, tmp_path / "x", str(world.variants), options=options)


def scored(job: ScoreJob, out: str, vcf: str | None = None) -> Results:
    path = job.out.with_name(out)
    prepared = Prepared(replace(job, out=path, variants=vcf or job.variants, command=out))
    write_scores(
        prepared.scorer, prepared.whole, path, form=prepared.form, command=prepared.job.command
    )
    return Results(path) if path.suffix == ".zarr" else None  # type: ignore[return-value]


def parts(world: World, folder: Path, count: int = 3) -> list[str]:
    """The world's variants in several files."""
    lines = world.variants.read_text().splitlines(True)
    head = [line for line in lines if line[0] == "#"]
    own = [line for line in lines if line[0] != "#"]
    found = []
    for i, part in enumerate(np.array_split(np.arange(len(own)), count)):
        found.append(folder / f"part{i}.vcf")
        found[-1].write_text("".join(head + [own[k] for k in part]))
    return list(map(str, found))


@pytest.mark.parametrize("explained", [slow(False), True])
def test_merged_rows_are_those_of_one_run(
    job: ScoreJob, world: World, tmp_path: Path, explained: bool
) -> None:
    if explained:
        added = AttributionOptions("deeplift", ("all",), by=("factor",), dtype="float16")
        job = replace(job, attribution=added)
    split = [scored(job, f"{i}.zarr", vcf) for i, vcf in enumerate(parts(world, tmp_path))]
    counts = merge(split, tmp_path / "merged.zarr", command="merge")
    merged = Results(tmp_path / "merged.zarr")
    for name, array in merged.group.arrays():
        own = [one.group[name] for one in split]
        about, theirs = (
            json.loads((path / name / "zarr.json").read_text())
            for path in (merged.path, split[0].path)
        )
        assert about | {"shape": 0, "chunk_grid": 0} == theirs | {"shape": 0, "chunk_grid": 0}
        along = "variant" in (array.metadata.dimension_names or ())
        expected = np.concatenate([a[:] for a in own]) if along else own[0][:]
        np.testing.assert_array_equal(array[:], expected)
    assert set(merged.group.array_keys()) == set(split[0].group.array_keys())
    whole = scored(job, "whole.zarr")
    assert counts.to_dict() | {"examples": 0} == (
        whole.attributes.counts.to_dict() | {"examples": 0}
    )
    assert verify(merged.path).ok
    made = merged.attributes
    assert made.variants == ", ".join(part.attributes.variants for part in split)
    assert made.variants_sha256 is None
    assert made.merged is not None
    assert [m.sha256 for m in made.merged] == [part.sha256 for part in split]
    assert [m.command for m in made.merged] == ["0.zarr", "1.zarr", "2.zarr"]
    again = merge([merged, whole], tmp_path / "again.zarr")
    assert again.rows == 2 * len(whole)
    assert [m.sha256 for m in Results(tmp_path / "again.zarr").attributes.merged or ()] == [
        *(part.sha256 for part in split),
        whole.sha256,
    ]


@pytest.mark.parametrize("ending", [slow(".tsv"), ".tsv.gz", slow(".parquet")])
def test_a_merged_table_has_the_lines_of_all(
    job: ScoreJob, world: World, tmp_path: Path, ending: str
) -> None:
    split = [scored(job, f"{i}.zarr", vcf) for i, vcf in enumerate(parts(world, tmp_path))]
    merge(split, tmp_path / "merged.zarr")
    merge(split, tmp_path / f"merged{ending}")
    export(Results(tmp_path / "merged.zarr"), tmp_path / f"exported{ending}")
    found = (tmp_path / f"merged{ending}").read_bytes()
    assert found == (tmp_path / f"exported{ending}").read_bytes()
    if ending == ".tsv":
        lines = []
        for i, vcf in enumerate(parts(world, tmp_path)):
            scored(job, f"{i}.tsv", vcf)
            lines += (tmp_path / f"{i}.tsv").read_bytes().splitlines(True)[i > 0 :]
        assert found == b"".join(lines)


@pytest.mark.slow
def test_what_is_not_alike_is_named(job: ScoreJob, store: Store, tmp_path: Path) -> None:
    one = scored(job, "one.zarr")
    context = store.contexts()[0][0]
    others = {
        "scheme 'grid' and 'centered'": {"scheme": "centered"},
        "genes 'all' and 'nearest'": {"genes": "nearest"},
        "contexts": {"contexts": (str(context),)},
    }
    for said, change in others.items():
        changed = replace(job, options=replace(job.options, **change))  # type: ignore[arg-type]
        other = scored(changed, f"{next(iter(change))}.zarr")
        with pytest.raises(InputError, match=f"{one.path} and {other.path} .* {said}"):
            merge([one, other], tmp_path / "out.zarr")
    assert not (tmp_path / "out.zarr").exists()


def test_rows_that_two_results_have_are_not_doubled(job: ScoreJob, tmp_path: Path) -> None:
    def within(name: str, *texts: str, files: tuple[Path, ...] = ()) -> Results:
        regions, named = chosen(texts, files)
        return scored(replace(job, regions=tuple(regions), named=tuple(named)), f"{name}.zarr")

    bed = tmp_path / "first.bed"
    bed.write_text("chr1\t0\t160000\n")
    whole, again = scored(job, "whole.zarr"), scored(job, "again.zarr")
    first, second = within("first", "chr1"), within("second", "chr2")
    more, file, same = (
        within("more", "chr2", "1:1-160000"),
        within("file", files=(bed,)),
        within("same", "chr2", files=(bed,)),
    )
    merge([first, second], tmp_path / "both.zarr")
    both = Results(tmp_path / "both.zarr")
    assert len(both) == len(first) + len(second) > len(first) > 0
    shutil.copytree(first.path, tmp_path / "copy.zarr")
    link = tmp_path / "link.zarr"
    link.symlink_to(first.path)
    for one, other in (
        *((first, first), (first, Results(link)), (first, Results(tmp_path / "copy.zarr"))),
        (both, second),
    ):
        with pytest.raises(InputError, match=f"{one.path} and {other.path} have the same results"):
            merge([one, other], tmp_path / "out.zarr")
    for one, other in (
        *((whole, again), (whole, second), (first, more), (both, more)),
        *((file, same), (file, first), (file, more)),
    ):
        with pytest.raises(InputError, match=f"{other.path} have variants of .* in common"):
            merge([one, other], tmp_path / "out.tsv")
    assert not list(tmp_path.glob("out*"))


def test_an_output_within_an_input_is_refused(job: ScoreJob, tmp_path: Path) -> None:
    prepared = Prepared(replace(job, out=tmp_path / "a.zarr"))
    write_scores(prepared.scorer, prepared.whole, prepared.job.out)
    with pytest.raises(OutputError, match="lies in .*a.zarr, which is merged"):
        merge([Results(tmp_path / "a.zarr")], tmp_path / "a.zarr/sub.zarr")
    assert not (tmp_path / "a.zarr/sub.zarr").exists()


def test_an_output_that_cannot_be(job: ScoreJob, tmp_path: Path) -> None:
    one = scored(job, "one.zarr")
    before = files(one.path)
    for out, said in (
        ("o.vcf", "an annotated VCF repeats one input"),
        ("o.png", "unknown kind"),
        ("one.zarr", "is one of what is merged"),
    ):
        with pytest.raises(OutputError, match=said) as told:
            merge([one, one], tmp_path / out, form=Form(), overwrite=True)
        assert ".vcf" not in told.value.hint
    with pytest.raises(InputError, match="no results"):
        merge([], tmp_path / "o.zarr")
    assert files(one.path) == before
