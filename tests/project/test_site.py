"""The documentation site: it builds strictly, documents every public name, and reads well in a browser."""

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import dindcache
import dindcache.gitlab
import dindcache.prometheus

ROOT = Path(__file__).parent.parent.parent
CHROMIUM = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
# Prints the number of pixels by which a page is wider than a phone.
MEASURE = """<iframe id="page" src="{page}" style="width: 390px; height: 844px; border: 0"></iframe>
<script>page.onload = () => {{
const shown = page.contentDocument.documentElement;
document.title = shown.scrollWidth - shown.clientWidth;
}}</script>"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("site")
    subprocess.run(
        ["mkdocs", "build", "--strict", "--quiet", f"--site-dir={directory}"],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        check=True,
    )
    return directory


@pytest.fixture(scope="module")
def served(site: Path) -> Iterator[str]:
    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def browse(served, tmp_path):
    """Return the DOM of a page in a browser."""
    program = shutil.which("chromium") or pytest.skip("needs chromium")

    def browse(page: str) -> str:
        command = [program, *CHROMIUM, f"--user-data-dir={tmp_path}", "--virtual-time-budget=5000", "--dump-dom"]
        done = subprocess.run([*command, f"{served}/{page}"], check=True, capture_output=True, text=True, timeout=60)
        return done.stdout

    return browse


def test_every_public_name_is_documented(site):
    reference = (site / "reference" / "constructs.html").read_text()
    names = [f"dindcache.{name}" for name in dindcache.__all__]
    names += [f"{module.__name__}.{name}" for module in (dindcache.gitlab, dindcache.prometheus) for name in module.__all__]
    assert not [name for name in names if f'id="{name}"' not in reference]


def test_the_search_finds_a_construct(site):
    pages = json.loads((site / "search" / "search_index.json").read_text())["docs"]
    assert [page for page in pages if "DindDaemon" in page["title"]]


def test_nothing_is_loaded_from_elsewhere(site):
    for page in site.rglob("*.html"):
        assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="https?://', page.read_text()), page.name


def test_a_browser_shows_the_front_page(browse):
    page = browse("index.html")
    assert "<h1" in page
    assert 'class="md-search__input"' in page
    assert "data-js-focus-visible" in page  # which the site's script adds


def test_a_browser_shows_the_props_of_a_daemon(browse):
    page = browse("reference/constructs.html#dindcache.DindDaemon")
    assert "drain_timeout" in page
    assert re.search(r"Defaults to\s+30\s+minutes", page)


@pytest.mark.parametrize("page", ["index.html", "quickstart.html", "reference/constructs.html", "explanation/benchmarks.html"])
def test_a_page_fits_a_phone(site, browse, page):
    (site / "measure.html").write_text(MEASURE.format(page=page))
    width = re.search(r"<title>(\d+)</title>", browse("measure.html"))
    assert width
    assert int(width[1]) == 0
