"""The pages for people, as files that the service hands out."""

import base64
import hashlib
import re
from pathlib import Path

import httpx2
import pytest

from service.routes import pages
from tests.api import Api

built = pytest.mark.skipif(not (pages.BUILT / "index.html").is_file(), reason="the pages are not built: make pages")


@built
@pytest.mark.parametrize("path", ["/", "/annotate"])
def test_a_page_and_everything_it_names_come_from_here(api: Api, path: str) -> None:
    page = api.get(path)
    assert page.headers["cache-control"] == "no-cache"
    named = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert named
    for address in named:
        assert address.startswith("./assets/")
        part = api.get(address.removeprefix("."))
        assert part.status_code == 200
        assert "immutable" in part.headers["cache-control"]


@built
def test_the_reference_needs_no_other_host(api: Api) -> None:
    text = api.get("/docs").text
    assert not re.findall(r"https?://", text)
    for address in re.findall(r'(?:src|href)="(assets/[^"]+)"', text):
        assert api.get("/" + address).status_code == 200


@pytest.mark.parametrize("name", ["nothing.js", "..%2findex.html", ".stamp", "%2e%2e%5cx"])
def test_only_parts_of_pages_are_handed_out(api: Api, name: str) -> None:
    assert api.get(f"/assets/{name}").status_code == 404


def test_pages_that_are_not_built_say_how_to_get_them(
    api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(pages, "BUILT", tmp_path)
    assert "make pages" in api.get("/").text


def _policies(answer: httpx2.Response) -> str:
    return " ".join(answer.headers.get_list("content-security-policy"))


@pytest.mark.parametrize("path", ["/", "/annotate", "/docs"])
def test_pages_run_no_script_but_ours(api: Api, path: str) -> None:
    policy = _policies(api.get(path))
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy
    assert ("'sha256-" in policy) is (path == "/docs")


def test_the_references_own_script_is_the_one_its_policy_names(api: Api) -> None:
    page = api.get("/docs")
    (script,) = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in _policies(page)
