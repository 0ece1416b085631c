"""The explorer over HTTP: who is answered, what is shown, what is typed, work in the background."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

pytest.importorskip("uvicorn")

from explored import Served, served

import seal_store
from seal_store import charts
from seal_store.charts.base import Scores
from seal_store.charts.links import place_links, variant_links
from seal_store.errors import InputError, OutputError
from seal_store.explore import task
from seal_store.explore.guard import Door
from seal_store.explore.maps import effect_map
from seal_store.explore.serve import exposed, listening
from seal_store.results.group import Results
from seal_store.run.scores import write_scores
from seal_store.scoring.options import AttributionOptions, ScoreOptions
from seal_store.scoring.scorer import Scorer
from seal_store.store.store import Store
from seal_store.synthetic import World
from seal_store.variants.source import read_variants

VARIANT = "chr1:107140:ACAT:A"
HOSTILE = [
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "\u202e\u05d0\u05d1",
    "{{ 7 * 7 }}",
    "../../etc/passwd",
    "x" * 10_000,
]


@pytest.fixture(scope="module")
def results(store: Store, world: World, tmp_path_factory: pytest.TempPathFactory) -> Results:
    out = tmp_path_factory.mktemp("explore") / "scores.zarr"
    why = AttributionOptions("deeplift", ("childhood.DFC", "early_fetal.OC"))
    scorer = Scorer(store, ScoreOptions(device="cpu"), attribution=why)
    write_scores(scorer, read_variants(world.variants), out)
    return Results(out)


@pytest.fixture(scope="module")
def explorer(store: Store, results: Results) -> Iterator[Served]:
    with served(store, results) as found:
        yield found


def spec(page: str, name: str) -> dict[str, Any]:
    """A chart in a page."""
    found = re.search(
        f'<script type="application/json" id="chart-{name}-spec">(.*?)</script>', page
    )
    assert found is not None
    return json.loads(found[1])


# --- who is answered


def test_the_token_opens_once_and_leaves_the_address(explorer: Served) -> None:
    first = requests.get(
        f"{explorer.base}/gene?token={explorer.door.token}&id=a%26b", allow_redirects=False
    )
    assert first.status_code == 303
    assert first.headers["location"] == "/gene?id=a%26b"
    cookie = first.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert explorer.door.token not in explorer.get("/").text
    outside = requests.get(
        f"{explorer.base}//evil.example/?token={explorer.door.token}", allow_redirects=False
    )
    assert outside.headers["location"] == "/evil.example/"


@pytest.mark.parametrize(
    "path", ["/", "/variant?v=x", "/static/vega.js", "/nothing", "/?token=x", "/?token=%C3%A9"]
)
def test_nobody_is_answered_without_it(explorer: Served, path: str) -> None:
    done = requests.get(explorer.base + path)
    assert done.status_code == 403
    assert "token" in done.text
    assert len(done.text) < 500


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:{port}"},
        {"Host": "127.0.0.1"},
        {"Host": "127.0.0.1:1"},
        {"Host": ""},
        {"Host": "127.0.0.1.evil.example:{port}"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://127.0.0.1:{port}"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    ],
)
def test_other_names_and_sites_are_refused(explorer: Served, headers: dict[str, str]) -> None:
    sent = {key: value.format(port=explorer.door.port) for key, value in headers.items()}
    for path in ("/", f"/?token={explorer.door.token}"):
        done = explorer.get(path, headers=sent, allow_redirects=False)
        assert done.status_code in (400, 403)
        assert "set-cookie" not in done.headers


def test_own_names_are_served(explorer: Served) -> None:
    for name in ("localhost", "127.0.0.1", "[::1]", "LOCALHOST"):
        sent = {
            "Host": f"{name}:{explorer.door.port}",
            "Cookie": f"{explorer.door.cookie}={explorer.door.token}",
        }
        assert requests.get(explorer.base, headers=sent).status_code == 200
    assert not Door(80, ("a",)).serves("10.0.0.1:80")
    assert Door(80, ("a",), everywhere=True).serves("10.0.0.1:80")
    assert not Door(80, ("a",), everywhere=True).serves("evil.example:80")


def test_work_is_begun_by_own_pages_alone(explorer: Served) -> None:
    form = {"gene": "GENE02", "span": 5}
    assert explorer.session.post(f"{explorer.base}/saturation", data=form).status_code == 403
    for origin in ("null", "http://evil.example"):
        assert explorer.post("/saturation", form, Origin=origin).status_code == 403
    assert explorer.get("/saturation/cancel").status_code == 405
    long = explorer.post("/saturation", {"gene": "x" * 11_000})
    assert long.status_code == 413


def test_what_answers_may_load(explorer: Served) -> None:
    for path in ("/", "/nothing", "/static/style.css", f"/variant?v={VARIANT}"):
        headers = explorer.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
    assert explorer.get("/").headers["cache-control"] == "no-store"
    page = explorer.get(f"/variant?v={VARIANT}").text
    assert re.findall(r"<script(?![^>]* src=| type=.application/json)", page) == []
    assert re.findall(r'(?:src|href)="(?!/|#|data:,)[^"]*"', page) == []
    assert re.findall(r"<[^>]* on\w+=", page) == []


# --- pages


def test_pages_show_the_store(explorer: Served, store: Store) -> None:
    home = explorer.get("/").text
    assert store.sha256 in home
    assert "SYNTHETIC" in home
    assert explorer.get("/genes?q=gene02").url.endswith("/gene?id=GENE02")  # the only one
    found = explorer.get("/genes?q=GENE0").text
    assert found.count('href="/gene?id=') > 3
    values = store.expression("GENE02")
    page = explorer.get("/gene?id=GENE02&top=all").text
    shown = [float(x) for x in re.findall(r'<tr><td class="number">([^<]+)</td>', page)]
    np.testing.assert_allclose(shown, np.sort(values)[::-1], rtol=1e-3)
    tss = int(store.column("tss")[store.position("GENE02")])
    bases = store.sequence("GENE02").tobytes().decode()
    block = re.search(r'value="(\d+)" aria-label="([ACGTN]+), [^"]*holds the TSS', page)
    assert block is not None
    first = int(block[1]) - 5
    assert first <= tss < first + 10
    assert bases[22_500 + first - tss :][:10] == block[2]


def test_a_typed_variant_has_the_scorer_s_numbers(explorer: Served, store: Store) -> None:
    data = seal_store.score(store, [VARIANT], device="cpu")
    page = explorer.get(f"/variant?v={VARIANT}&top=all").text
    shown = re.findall(r'<tr><td class="number">([^<]+)</td>\s*<td><bdi>([^<]*)</bdi>', page)
    assert len(shown) == 802
    effect = dict(
        zip(data.context_name.values.tolist(), data.effect.values[0].tolist(), strict=True)
    )
    for value, name in shown:
        assert float(value) == pytest.approx(effect[unescape(name)], rel=1e-3)
    sizes = [abs(float(value)) for value, _ in shown]
    assert sizes == sorted(sizes, reverse=True)
    same = explorer.get("/variant?v=chr1:g.107141_107143del").text
    assert spec(same, "effects")["datasets"] == spec(page, "effects")["datasets"]
    few = explorer.get(f"/variant?v={VARIANT}&contexts=stage%3Dchildhood+region%3DDFC").text
    assert "childhood.DFC" in few
    assert few.count("<tr><td") == 1
    centered = explorer.get(f"/variant?v={VARIANT}&scheme=centered&genes=all").text
    assert "scheme centered" in centered


def test_the_kept_map_is_the_chart_s(store: Store) -> None:
    data = seal_store.score(store, [VARIANT, "chr1:107140:A:C"], device="cpu")
    for row in (0, 1):
        found, wanted = effect_map(Scores(data), row), charts.effect_map(data, row).to_dict()
        assert found["title"] == wanted["title"]
        assert found["description"] == wanted["description"]
        for part, own in zip(wanted["vconcat"], found["datasets"].values(), strict=True):
            data_of = part.get("data") or part["layer"][0]["data"]
            named = wanted.get("datasets", {}).get(data_of.get("name"))
            assert own == data_of.get("values", named)
        same = '"interpolate": "lab"'
        assert json.dumps(found).count(same) == json.dumps(wanted).count(same) > 0
        most = float(np.abs(data.effect.values[row]).max())
        assert f'"domain": [{-most!r}, 0, {most!r}]' in json.dumps(found)


def test_what_is_not_scored_is_said(explorer: Served) -> None:
    page = explorer.get("/variant?v=chr1:5:A:C").text
    assert "Not scored: no TSS within the distance" in page
    assert "chart-effects" not in page


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/nothing", 404, "no such page"),
        ("/gene?id=NOPE", 404, "not in the gene table"),
        ("/gene?id=", 404, "not in the gene table"),
        ("/gene?id=GENE02&at=5", 400, "`at` 5"),
        ("/variant?v=rs12", 400, "an identifier"),
        ("/variant?v=x&genes=some", 400, "not one of nearest, all"),
        (f"/variant?v={VARIANT}&row=7", 400, "`row` 7"),
        (f"/variant?v={VARIANT}&contexts=nowhere", 400, "no context"),
        ("/saturation?gene=GENE02&span=501", 400, "from 5 to 500"),
        ("/results?page=99", 400, "`page` 99"),
        ("/results?page=1e5", 400, "`page` 1e5"),
        ("/row?row=-1", 400, "`row` -1"),
        ("/calibration?context=childhood.DFC", 400, "no calibration"),
        ("/chart/profile?id=NOPE", 404, "not in the gene table"),
    ],
)
def test_what_is_wrong_is_one_line(explorer: Served, path: str, status: int, said: str) -> None:
    done = explorer.get(path)
    assert done.status_code == status
    assert said in unescape(done.text)
    assert "Traceback" not in done.text


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_stays_text(explorer: Served, text: str) -> None:
    for path in (
        "/genes?q=",
        "/gene?id=",
        "/variant?v=",
        f"/variant?v={VARIANT}&contexts=",
        "/results?gene=",
        "/saturation?gene=",
    ):
        done = explorer.get(path + requests.utils.quote(text, safe=""))
        assert done.status_code in (200, 400, 404), (path, done.status_code)
        assert "<script>alert" not in done.text
        assert "<img" not in done.text
        assert "\u202e" not in done.text.replace(f'value="{text}"', "")
        assert "root:" not in done.text
    assert explorer.get("/variant?v=" + "x" * 62_000).status_code == 414


def test_long_alleles_are_scored(explorer: Served) -> None:
    page = explorer.get("/variant?v=chr1:107140:A:A" + "CGTT" * 2_500)
    assert page.status_code == 200
    assert "10,001 bases" in page.text
    assert "chart-effects" in page.text


# --- results


def test_rows_of_results_page_by_page(explorer: Served, results: Results) -> None:
    rows = results.rows()
    found = []
    for page in range(1, -(-len(results) // 25) + 1):
        found += re.findall(r'href="/row\?row=(\d+)"', explorer.get(f"/results?page={page}").text)
    assert list(map(int, found)) == list(range(len(results)))
    order = np.argsort(-np.abs(rows.effect).max(1), kind="stable")[:25].tolist()
    strongest = explorer.get("/results?sort=strongest").text
    assert list(map(int, re.findall(r'href="/row\?row=(\d+)"', strongest))) == order
    gene = str(rows.columns["gene_id"][0])
    own = re.findall(r'href="/row\?row=(\d+)"', explorer.get(f"/results?gene={gene}").text)
    assert set(map(int, own)) <= set(np.flatnonzero(rows.columns["gene_id"] == gene).tolist())
    assert "not scored" in explorer.get("/results").text


def test_a_row_is_shown_as_stored(explorer: Served, results: Results) -> None:
    page = explorer.get("/row?row=3&top=all").text
    shown = [float(x) for x in re.findall(r'<tr><td class="number">([^<]+)</td>', page)]
    effect = results.rows(3, 4).effect[0]
    np.testing.assert_allclose(np.sort(shown), np.sort(effect), rtol=1e-3)
    chart = explorer.get("/chart/attribution?row=3&target=early_fetal.OC").json()
    assert "early_fetal.OC" in chart["description"]
    assert f"{len(results)} rows" in explorer.get("/chart/locus").json()["description"]


# --- saturations


def wait_for(explorer: Served, query: str, *states: str) -> dict[str, Any]:
    for _ in range(600):
        found = explorer.get(f"/saturation/status?{query}").json()
        if found["state"] in states:
            return found
        time.sleep(0.05)
    pytest.fail(f"still {found}")


def test_a_saturation_is_computed_watched_and_kept(explorer: Served, store: Store) -> None:
    tss = int(store.column("tss")[store.position("GENE02")])
    form = {"gene": "GENE02", "center": tss + 300, "span": 6, "contexts": "childhood.DFC"}
    query = "&".join(f"{key}={value}" for key, value in form.items())
    assert "Start" in explorer.get(f"/saturation?{query}").text
    assert explorer.get(f"/saturation/status?{query}").json()["state"] == "unknown"
    begun = explorer.post("/saturation", form)
    assert begun.status_code == 200  # the page that it leads to
    assert f"center={tss + 300}" in begun.url
    assert wait_for(explorer, query, "done") == {"state": "done", "done": 39, "total": 39}
    page = explorer.get(begun.url.removeprefix(explorer.base)).text
    chart = spec(page, "saturation")
    rows = [
        x for own in chart["datasets"].values() for x in own if {"pos", "base", "effect"} <= set(x)
    ]
    table = {(x["pos"], x["base"]): x["effect"] for x in rows}
    typed = [f"chr1:{p}:{x['ref']}:{b}" for (p, b), x in zip(table, rows, strict=True)]
    wanted = seal_store.score(store, typed, device="cpu", contexts="childhood.DFC")
    np.testing.assert_allclose(
        list(table.values()), wanted.effect.values[:, 0], rtol=1e-3, atol=1e-7
    )
    assert f"{tss + 294:,}-{tss + 306:,}" in chart["title"]["text"]


def test_a_saturation_is_cancelled(explorer: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task, "PIECE", 3)
    once = task._rows

    def slowly(*given: Any) -> Any:
        time.sleep(0.05)
        return once(*given)

    monkeypatch.setattr(task, "_rows", slowly)
    form, query = {"gene": "GENE03", "span": 400}, "gene=GENE03&span=400"
    going = explorer.post("/saturation", form)
    assert "<progress" in going.text
    start = time.perf_counter()
    assert "chart-effects" in explorer.get("/variant?v=chr1:107140:A:G").text  # in between
    assert time.perf_counter() - start < 5
    some = wait_for(explorer, query, "running")
    assert some["done"] < some["total"]
    again = explorer.post("/saturation", form)
    assert again.url == going.url
    ended = explorer.post("/saturation/cancel", form)
    assert "Cancelled" in ended.text
    assert wait_for(explorer, query, "cancelled")["done"] < some["total"]
    row = explorer.engine.store.position("GENE03")
    some_tss = int(explorer.engine.store.column("tss")[row])
    with pytest.raises(InputError, match="are waiting already"):
        jobs = task.Saturations(explorer.engine)
        for span in range(10, 10 + task.WAITING + 1):
            jobs.start(task.Wanted("GENE03", some_tss, span, "grid"))
    jobs.close()


# --- the command


@pytest.mark.slow
def test_ctrl_c_ends_it_and_leaves_nothing(store: Store, results: Results, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from seal_store.cli import main; main()", "explore"]
    child = subprocess.Popen(
        [
            *command,
            str(store.path),
            str(results.path),
            "--json",
            "--device",
            "cpu",
            "--threads",
            "1",
        ],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(seal_store.__file__).parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert child.stdout is not None
    address = json.loads(child.stdout.readline())["address"]
    base = address.partition("/?")[0]
    with requests.Session() as session:
        assert session.get(address).status_code == 200
        form = {"gene": "GENE02", "span": 500}
        assert session.post(f"{base}/saturation", form, headers={"Origin": base}).status_code == 200
        start = time.perf_counter()
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=30)
    assert time.perf_counter() - start < 3
    assert child.returncode == 130
    assert said.splitlines()[-1] == "seal-store: error: interrupted"
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []
    assert sorted(p.name for p in store.path.parent.iterdir()) == [store.path.name]


def test_a_port_that_is_taken(explorer: Served) -> None:
    with pytest.raises(OutputError, match="cannot listen"):
        listening("127.0.0.1", explorer.door.port)
    with pytest.raises(OutputError, match="cannot listen"):
        listening("no such name", 0)
    assert exposed("127.0.0.1") == ""
    assert "nothing is encrypted" in exposed("0.0.0.0")


def test_links_lead_to_browsers_that_have_the_assembly() -> None:
    named = dict(variant_links("hg38", "chr1", 100, "A", "C"))
    assert (
        named["gnomAD"] == "https://gnomad.broadinstitute.org/variant/1-100-A-C?dataset=gnomad_r4"
    )
    assert "db=hg38&position=chr1:50-150" in named["UCSC"]
    assert dict(place_links("hg19", "1", 100))["Ensembl"].startswith("https://grch37.ensembl.org/")
    assert "gnomAD" not in dict(variant_links("hg38", "chr1", 100, "A", "C" * 300))
    assert place_links("unknown", "chr1", 100) == []
    assert place_links("hg19", 'contig_9"><script>', 100) == []
