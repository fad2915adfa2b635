import base64
import hashlib
import html
import re
import sys

import jinja2
import pytest

from pipeline.evaluate import web_page

FOLDER = "templates_of_a_test"


@pytest.fixture
def page(tmp_path, monkeypatch):
    """Returns a function that renders a page of given main content."""
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = tmp_path / FOLDER
    folder.mkdir()
    (folder / "own.css").write_text("p > b { color: red }\n")
    (folder / "own.js").write_text('if (1 < 2) console.log("own");\n')

    def render(main: str, **arguments) -> str:
        content = '{% extends "page.html" %}{% block main %}' + main + "{% endblock %}"
        (folder / "own.html").write_text(content)
        return web_page.render("own.html", folder=FOLDER, title="a & b", **arguments)

    yield render
    sys.modules.pop(FOLDER, None)


def policy(text: str) -> dict[str, str]:
    """What the page allows, by the kind of content."""
    (content,) = re.findall(r'Security-Policy" content="([^"]+)"', text)
    return dict(part.split(maxsplit=1) for part in html.unescape(content).split("; "))


def test_texts_are_escaped_and_styles_and_scripts_are_not(page):
    text = page("<p>{{ name }}</p>", styles=["own.css"], scripts=["own.js"], name="<b>&</b>")
    assert "<p>&lt;b&gt;&amp;&lt;/b&gt;</p>" in text
    assert "<title>a &amp; b</title>" in text
    assert "p > b { color: red }" in text
    assert "--accent:" in text  # The style of all pages.
    assert 'if (1 < 2) console.log("own");' in text


def test_a_page_allows_its_own_script_and_nothing_from_the_network(page):
    text = page("", scripts=["own.js"])
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = policy(text)
    assert allowed["default-src"] == "'none'"
    assert allowed["img-src"] == "data:"
    assert allowed["script-src"] == f"'sha256-{digest}'"


def test_a_page_without_a_script_allows_none(page):
    text = page("words")
    assert "<script" not in text
    assert policy(text)["script-src"] == "'none'"


def test_a_value_that_is_missing_is_an_error(page):
    with pytest.raises(jinja2.UndefinedError, match="'absent' is undefined"):
        page("{{ absent }}")
