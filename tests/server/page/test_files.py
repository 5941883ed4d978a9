"""How the page is served, and what its parts are."""

import re
from importlib.resources import files

import pytest
from starlette.testclient import TestClient

from engine.server.routes.page import page_files

PAGE = files("engine.server").joinpath("page")


def test_the_page_is_served_typed_tagged_and_locked_up(client: TestClient) -> None:
    answer = client.get("/")
    policy = answer.headers["content-security-policy"]
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert answer.headers["cache-control"] == "no-cache" and answer.headers["x-content-type-options"] == "nosniff"
    again = client.get("/", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/page/js/main.js").headers["content-type"] == "text/javascript; charset=utf-8"
    assert client.get("/page/icon.svg").headers["content-type"] == "image/svg+xml"


@pytest.mark.parametrize("path", ["nothing.js", "../app.py", "%2e%2e/app.py", "js/..%2f..%2fapp.py", "js", ""])
def test_nothing_but_the_page_is_served(client: TestClient, path: str) -> None:
    answer = client.get(f"/page/{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_the_document_holds_no_code_and_names_only_what_is_there() -> None:
    document = PAGE.joinpath("index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", document)
    named = re.findall(r'"/page/([^"]+)"', document)
    scripts = [name for name in page_files() if name.endswith(".js")]
    imports = [
        f"js/{name}"
        for script in scripts
        for name in re.findall(r'from "\./([^"]+)"', PAGE.joinpath(script).read_text())
    ]
    assert {*named, *imports} <= set(page_files())
    assert {*scripts} - {"js/types.js"} <= {*named, *imports}
