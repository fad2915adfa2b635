import base64
import dataclasses
import hashlib
import html.parser
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest

from components.figures.page_pictures import tiles
from pipeline.evaluate.report import explorer, page
from pipeline.evaluate.report.subject import ComparedImages, Strip
from tests.pipeline.evaluate.report.subjects import report_subject

VOID = {"meta", "img", "line", "circle", "path"}
LIMIT = 15 << 20  # bytes


class Structure(html.parser.HTMLParser):
    """Checks that elements are closed in order, and collects ids, links and sources."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.ids, self.links, self.sources = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values["href"]] if "href" in values else []
        self.sources += [values["src"]] if "src" in values else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        assert tag in VOID

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def subject(example_set, model_dir):
    return report_subject(example_set, model_dir)


@pytest.fixture(scope="module")
def text(subject) -> str:
    return page.render(subject)


def test_the_page_is_well_formed_and_holds_all_that_it_shows(text):
    structure = Structure(text)
    assert len(structure.ids) == len(set(structure.ids))
    assert {link.removeprefix("#") for link in structure.links} <= set(structure.ids)
    assert structure.sources
    assert all(source.startswith("data:image/") for source in structure.sources)
    # Nothing names a place on the network.
    assert not re.search(r"https?://|url\(|@import|fetch\(|XMLHttp", text)


def test_only_the_script_of_the_page_is_allowed(text):
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)[1]
    assert "default-src 'none'" in policy.replace("&#39;", "'")
    allowed = re.search(r"script-src '?(?:&#39;)?sha256-([^'&]+)", policy)[1]
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert allowed == digest


def test_figures_settings_and_commands_are_shown(subject, text):
    assert "<h1>cats · mlp</h1>" in text
    elbo = subject.scores.metric("elbo").value
    assert f"−{-elbo:.2f}" in text
    assert "7 nearest neighbors among the embeddings, fitted on train, k chosen on" in text
    assert "<dt>latents</dt><dd>2</dd>" in text
    assert "python -m trainer" in text
    assert subject.trained.manifest.versions["tensorflow"] in text
    for name in subject.class_names:
        assert text.count(f'<td class="name">{name}</td>') >= 2  # Data and ELBO by class.


def test_sections_without_data_are_left_out(subject):
    scores = dataclasses.replace(subject.scores, by_class={}, rate_per_dimension=None)
    without = page.render(dataclasses.replace(subject, scores=scores))
    assert "ELBO by class" not in without
    assert "Rate by latent dimension" not in without
    assert 'id="findings"' not in without
    assert 'class="note"' not in without
    Structure(without)


def test_findings_are_shown_with_their_severity(subject):
    finding = SimpleNamespace(code="dead_units", severity="warning", text="3 < 5 units")
    text = page.render(dataclasses.replace(subject, findings=[finding]))
    assert '<span class="severity warning">warning</span><div>3 &lt; 5 units' in text
    assert "dead_units" in text
    assert "No findings." in page.render(dataclasses.replace(subject, findings=[]))


def test_texts_of_strangers_are_escaped(subject):
    hostile = "</script><img src=x onerror=alert(1)>"
    dataset = dataclasses.replace(
        subject.dataset,
        counts=dataclasses.replace(subject.dataset.counts, class_names=[hostile] * 10),
    )
    examples = dataclasses.replace(subject.examples, ids=[hostile] * 100)
    scores = dataclasses.replace(subject.scores, dataset=hostile)
    text = page.render(
        dataclasses.replace(
            subject, dataset=dataset, examples=examples, scores=scores, notes=[hostile, "a & b"]
        )
    )
    assert "<img src=x" not in text
    assert "</script><img" not in text
    assert '<p class="note">a &amp; b</p>' in text
    structure = Structure(text)
    assert "x" not in structure.sources
    data = re.search(r'id="explorer-data">(.*?)</script>', text, re.DOTALL)[1]
    assert json.loads(data)["ids"][0] == hostile
    assert json.loads(data)["names"][0] == hostile


def test_strips_of_classes_have_their_names(subject):
    images = subject.space.images
    strips = [Strip(1, images), Strip(2, images)]
    text = page.render(dataclasses.replace(subject, samples=strips))
    for label in (1, 2):
        assert f'alt="samples: {subject.class_names[label]}"' in text


def test_compared_images_are_rows_with_names(subject):
    images = subject.examples.images[:24].reshape(8, 3, 28, 28, 1)
    names = [f"row <{number}>" for number in range(8)]
    compared = ComparedImages("Denoised", "of cats", "Look at edges.", names, images)
    text = page.render(dataclasses.replace(subject, comparisons=[compared]))
    assert "<h3>Denoised</h3>" in text
    assert '<p class="caption">Look at edges.</p>' in text
    for number in range(6):
        name = f"row &lt;{number}&gt;"
        assert f'<td class="name">{name}</td>' in text
        uri = tiles(images[number][np.newaxis]).uri
        assert f'src="{uri}"' in text
    assert "row &lt;6&gt;" not in text  # The figure has all rows, the page the first.
    Structure(text)


def test_a_page_of_large_images_of_noise_is_bounded(subject, monkeypatch):
    """The worst case: nothing can be compressed, and every picture is as large as it can be."""
    monkeypatch.setattr(explorer, "_MAX_WEIGHTS", 10)
    rng = np.random.default_rng(0)
    grid = rng.integers(0, 256, (20, 20, 96, 96, 3), np.uint8)
    space = dataclasses.replace(
        subject.space, images=grid, quantiles=np.linspace(0.05, 0.95, 20).tolist()
    )
    strips = [Strip(label % 10, grid[:2, :10]) for label in range(20)]
    compared = [ComparedImages("a", "b", "c", ["d"] * 20, grid)] * 2
    changed = dataclasses.replace(
        subject, space=space, samples=strips, reconstructions=strips, comparisons=compared
    )
    assert len(page.render(changed).encode()) < LIMIT
