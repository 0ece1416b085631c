"""The application: addresses -> pages, each made in a thread so that none holds up another."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from seal_store.errors import GeneTableError, InputError, SealStoreError
from seal_store.explore.asked import Asked
from seal_store.explore.engine import Engine
from seal_store.explore.guard import App, Door, Guard
from seal_store.explore.listing import Listing
from seal_store.explore.pages import Page, Pages
from seal_store.explore.saturations import SaturationViews
from seal_store.explore.task import Saturations
from seal_store.explore.views import Views
from seal_store.results.group import Results

FORM_BYTES = 10_000
NO_RESULTS = "no results were given", "start it as `seal-store explore STORE RESULTS`"
KEPT = {"cache-control": "private, max-age=86400"}
"""For scripts and the style, whose addresses hold their version."""

View = Callable[[Asked], "Page | str | dict[str, Any]"]


def make_app(engine: Engine, results: Results | None, door: Door) -> App:
    """The pages of a store, and of ``results`` made from it, behind ``door``.

    A variant's page is made at once, which loads all that the first one asked for would wait for.
    Raises what opening and scoring raise: :class:`StoreError`, :class:`InputError`.
    """
    views, jobs = Views(engine), Saturations(engine)
    saturations = SaturationViews(jobs, views.genes)
    listing = Listing(results, views) if results is not None else None
    pages = Pages(
        store=engine.store.path.name,
        results=results.path.name if results is not None else "",
        synthetic=engine.store.synthetic,
    )
    pages.always["version"] = pages.version
    pages.render(views.variant(Asked({"v": engine.example})))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        jobs.close()
        engine.close()

    def listed(name: str) -> View:
        def refuse(asked: Asked) -> Page:
            raise InputError(*NO_RESULTS)

        return refuse if listing is None else getattr(listing, name)

    shown: dict[str, View] = {
        "/": views.home,
        "/genes": views.find,
        "/gene": views.gene,
        "/variant": views.variant,
        "/calibration": views.calibration,
        "/saturation": saturations.page,
        "/results": listed("page"),
        "/row": listed("row"),
        "/chart/profile": views.profile,
        "/chart/calibration": views.calibrated,
        "/chart/locus": listed("locus"),
        "/chart/attribution": listed("attribution"),
        "/saturation/status": saturations.status,
    }
    asked_for: dict[str, View] = {
        "/saturation": saturations.start,
        "/saturation/cancel": saturations.cancel,
    }
    files: dict[str, tuple[Callable[[], str], str]] = {
        "/static/style.css": (lambda: pages.style, "text/css"),
        "/static/explore.js": (lambda: pages.script, "text/javascript"),
        "/static/vega.js": (pages.vega, "text/javascript"),
    }
    routes = [
        *(Route(path, _posted(pages, view), methods=["POST"]) for path, view in asked_for.items()),
        *(Route(path, _shown(pages, view), methods=["GET"]) for path, view in shown.items()),
        *(Route(path, _file(*own), methods=["GET"]) for path, own in files.items()),
    ]

    async def not_served(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        said = {404: "There is no such page.", 405: "This page does not take that."}
        text = said.get(status, "Something went wrong that should not: the server says more.")
        return await run_in_threadpool(_wrong, pages, request, text, "", status)

    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={HTTPException: not_served, Exception: not_served},
    )
    return Guard(app, door)


def _shown(pages: Pages, view: View) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        return await run_in_threadpool(_made, pages, view, request, dict(request.query_params))

    return answer


def _posted(pages: Pages, view: View) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > FORM_BYTES:
                return _wrong(pages, request, "the form is too long", "", 413)
        values = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
        return await run_in_threadpool(_made, pages, view, request, values)

    return answer


def _file(text: Callable[[], str], kind: str) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        return Response(await run_in_threadpool(text), media_type=kind, headers=KEPT)

    return answer


def _made(pages: Pages, view: View, request: Request, values: dict[str, str]) -> Response:
    """The answer of a view; what is wrong with what was asked is a page of one line."""
    try:
        found = view(Asked(values))
        if isinstance(found, str):
            return RedirectResponse(found, 303)
        if isinstance(found, dict):
            return JSONResponse(found)
        return HTMLResponse(pages.render(found), found.status)
    except SealStoreError as error:
        status = 404 if isinstance(error, GeneTableError) else 500
        if isinstance(error, InputError) and status == 500:
            status = 400
        return _wrong(pages, request, str(error), error.hint, status)


def _wrong(pages: Pages, request: Request, text: str, hint: str, status: int) -> Response:
    if request.url.path.startswith("/chart/"):
        return JSONResponse({"error": text, "hint": hint}, status)
    values = {"title": "Not possible", "text": text, "hint": hint}
    return HTMLResponse(pages.render(Page("error.html", values)), status)
