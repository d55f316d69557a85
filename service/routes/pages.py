"""Pages for people: the dashboard at `/`, labeling at `/annotate`, the interface's reference at `/docs`.

They are built by `make pages` into service/dashboard/built, and need nothing from the internet.
"""

import base64
import hashlib
import re
from pathlib import Path

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse, Response

from service.problems import UnknownError

BUILT = Path(__file__).parent.parent / "dashboard" / "built"
_MISSING = """<!doctype html><html lang="en"><title>Lookahead</title><h1>Lookahead is running</h1>
<p>Its pages are not built here: run <code>make pages</code> (it needs Node.js 20.19 or newer), then load
this page again. Meanwhile the interface tells about itself at <a href="openapi.json">/openapi.json</a>.</p></html>"""
# Names of assets have a hash of their contents in them, but for the reference's.
_FOREVER = "public, max-age=31536000, immutable"
# Pictures that were fetched with a key are shown as blobs. Frames are forbidden with every answer, see SafeAnswers.
_POLICY = (
    "default-src 'none'; script-src 'self'{scripts}; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'"
)
_INLINE = re.compile(r"<script>(.*?)</script>", re.DOTALL)

router = APIRouter(include_in_schema=False)


@router.get("/")
def dashboard() -> Response:
    """The dashboard."""
    return _page("index.html")


@router.get("/annotate")
def annotate() -> Response:
    """The labeling page."""
    return _page("annotate.html")


@router.get("/docs")
def reference() -> HTMLResponse:
    """The reference of the HTTP interface."""
    page = get_swagger_ui_html(
        openapi_url="openapi.json",
        title="Lookahead: the HTTP interface",
        swagger_js_url="assets/swagger-ui-bundle.js",
        swagger_css_url="assets/swagger-ui.css",
        swagger_favicon_url="data:,",
    )
    # Its one script in the page is named by what it is: no other may run.
    page.headers["Content-Security-Policy"] = _policy(*_INLINE.findall(bytes(page.body).decode()))
    return page


@router.get("/assets/{part}")
def asset(part: str) -> Response:
    """A script or a style sheet. Raises UnknownError."""
    found = BUILT / "assets" / part
    if "/" in part or "\\" in part or part.startswith(".") or not found.is_file():
        raise UnknownError("unknown_page", f"there is no page part {part!r} here: load the page again")
    return FileResponse(found, headers={"Cache-Control": "no-cache" if part.startswith("swagger-ui") else _FOREVER})


def _page(name: str) -> Response:
    # Names of scripts change with every build: the page that names them is asked for anew.
    if not (BUILT / name).is_file():
        return HTMLResponse(_MISSING, headers={"Content-Security-Policy": _policy()})
    return FileResponse(BUILT / name, headers={"Cache-Control": "no-cache", "Content-Security-Policy": _policy()})


def _policy(*scripts: str) -> str:
    """What a page may load: parts from here, and these scripts that stand in it."""
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    return _POLICY.format(scripts="".join(f" 'sha256-{one}'" for one in hashes))
