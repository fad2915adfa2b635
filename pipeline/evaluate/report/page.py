"""The page of a report: its template, filled with the values of the other modules."""

import numpy as np

from components.figures.page_pictures import dots, tiles
from pipeline.evaluate import web_page
from pipeline.evaluate.report import commands, texts
from pipeline.evaluate.report.data_section import data_section
from pipeline.evaluate.report.example_section import class_rows, extremes, thumbnails
from pipeline.evaluate.report.explorer import explorer
from pipeline.evaluate.report.figure_table import headlines, table
from pipeline.evaluate.report.subject import ComparedImages, ReportSubject, Strip
from trainer.train_counts import TrainCounts

_SCRIPTS = ("decoder.js", "explorer.js")
_MAX_COLUMNS = 10  # Of samples and reconstructions; more would be tiny on a telephone.
_MAX_ROWS = 6  # Of compared images.
_GRID_SIDE = 64  # Pixels of an image of the decoded latent space.


def render(subject: ReportSubject) -> str:
    """The page as HTML.

    Raises:
      WorkError: the manifests of the dataset or of the model, or the first shard, are damaged.
    """
    scores, order, plane = subject.scores, subject.order, subject.space.plane
    counts = subject.trained.counts(TrainCounts)
    plot = explorer(subject)
    extreme = extremes(subject)
    return web_page.render(
        "report.html",
        styles=["report.css"],
        scripts=_SCRIPTS,
        title=f"{scores.dataset} · {scores.preset}",
        facts=texts.facts(subject, counts),
        notes=subject.notes,
        headlines=headlines(scores.means),
        figures=table(scores.means),
        thumbnails=thumbnails(subject),
        examples=f"{scores.examples:,}",
        split=scores.split,
        protocol=scores.how_measured(),
        data=data_section(subject.dataset, subject.class_names, order),
        training=texts.training(subject, counts),
        has_heldout=any(epoch.heldout for epoch in subject.epochs),
        charts=texts.charts(subject.epochs),
        classes=class_rows(scores.by_class.get("elbo", {})),
        worst=extreme.worst,
        best=extreme.best,
        explorer=plot,
        legend=texts.legend(plot),
        still=dots(plot.data["x"], plot.data["y"], plot.data["classes"], plot.data["colors"]),
        axes=plane.names,
        chosen=texts.chosen(plot),
        decoding=texts.decoding(subject, plot),
        bars=texts.bars(scores.rate_per_dimension),
        # The first row of a picture is at the top, that of the plane at the bottom.
        grid=tiles(subject.space.images[::-1], gap=0, side=_GRID_SIDE),
        given=texts.given(subject),
        plane_distribution=plane.distribution,
        samples=[_picture(subject, strip) for strip in subject.samples],
        reconstructions=[_picture(subject, strip) for strip in subject.reconstructions],
        comparisons=map(_comparison, subject.comparisons),
        findings=subject.findings,
        commands=commands.repeat_commands(
            subject.dataset.artifact, subject.trained, subject.config, output=subject.output
        ),
        configs=texts.configs(subject),
        digests=texts.digests(subject),
    )


def _picture(subject: ReportSubject, strip: Strip) -> dict[str, object]:
    """The images of a strip as a picture, with the name of their class if they are of one."""
    name = "" if strip.label is None else subject.class_names[strip.label]
    return {"name": name, "image": tiles(strip.images[:, :_MAX_COLUMNS])}


def _comparison(compared: ComparedImages) -> dict[str, object]:
    """The first of some compared images, a picture for each row."""
    rows = zip(compared.names, compared.images[:_MAX_ROWS, np.newaxis, :_MAX_COLUMNS], strict=False)
    return {
        "title": compared.title,
        "caption": compared.caption,
        "rows": [{"name": name, "image": tiles(images)} for name, images in rows],
    }
