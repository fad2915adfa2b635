"""The neighbours stage: finds neighbors, outliers and near duplicates in the latent space."""

from etils import epath

from components.base import artifacts, console, json_lines
from components.base.errors import ConfigError
from components.base.manifest import Artifact, load_artifact
from pipeline.neighbours import presentation, query, sheet
from pipeline.neighbours.config import NeighboursConfig
from pipeline.neighbours.searches import (
    DuplicateSearch,
    EmbeddingSearch,
    NearestSearch,
    OutlierSearch,
    SearchResult,
)
from pipeline.neighbours.tables import EmbeddingRows

# The searches that --query, --outliers and --duplicates ask for.
NEAREST, OUTLIERS, DUPLICATES = "nearest", "outliers", "duplicates"

# The option of each search, and the settings that only this search depends on.
_OPTIONS = {NEAREST: "--query", OUTLIERS: "--outliers", DUPLICATES: "--duplicates"}
_SETTINGS = {NEAREST: ("model", "background"), OUTLIERS: (), DUPLICATES: ("threshold",)}

# The files of the artifact.
TABLE, RECORDS, SHEET = "table.txt", "rows.jsonl", "contact_sheet.png"


def neighbours(
    config: NeighboursConfig = NeighboursConfig(),  # noqa: B008 - frozen
    *,
    embeddings: epath.PathLike,
    search: str,
    query_name: str | None = None,
    model: epath.PathLike | None = None,
    output: epath.PathLike | None = None,
    overwrite: bool = False,
    verify: bool = False,
) -> Artifact | None:
    """Searches tables of embeddings, and prints the result on standard output.

    Args:
      config: the settings.
      embeddings: directory of tables, which the embed or the evaluate stage wrote.
      search: NEAREST, OUTLIERS or DUPLICATES.
      query_name: for NEAREST, the id of a row or the path of an image file.
      model: for an image file, directory of the model; None for the one that the manifest of the
        tables names.
      output: directory to publish the table, the rows and the contact sheet in; None for none.
      overwrite: whether to replace another or a damaged artifact in `output`.
      verify: whether to read all files of an artifact that is up to date, to check their content.

    Returns:
      The artifact in `output`.

    Raises:
      ConfigError: there are no tables, a column is missing or empty, the query is unknown, a
        setting has no effect on the search, or `output` holds something else.
      WorkError: a file is damaged.
    """
    rows = EmbeddingRows.open(embeddings)
    task = _search(config, search, query_name, rows, model)
    if output is None:
        console.show(presentation.table(task.run(rows), config.count))
        return None
    plan = artifacts.ArtifactPlan(
        stage="neighbours",
        directory=epath.Path(output),
        config={**task.config, "count": config.count},
        inputs={"embeddings": rows.artifact.as_input(), **task.inputs},
    )
    if plan.is_up_to_date(overwrite=overwrite, verify=verify):
        artifact = load_artifact(output, stage="neighbours")
        console.show(artifact.verified(TABLE).read_text().rstrip("\n"))
        console.say(f"neighbours: up to date ({output})")
        return artifact
    with plan.publish(overwrite=overwrite) as draft:
        found = task.run(rows)
        text = presentation.table(found, config.count)
        _write(found, text, config.count, rows, draft.path)
        draft.counts = {
            "rows": len(rows),
            "found": sum(map(len, found.groups)),
            "groups": len(found.groups),
        }
    console.show(text)
    console.say(f"neighbours: done ({output})")
    return load_artifact(output, stage="neighbours")


def _search(
    config: NeighboursConfig,
    search: str,
    query_name: str | None,
    rows: EmbeddingRows,
    model: epath.PathLike | None,
) -> EmbeddingSearch:
    given = {"model": model, "threshold": config.threshold, "background": config.background}
    for name, value in given.items():
        if value is not None and name not in _SETTINGS[search]:
            raise ConfigError(f"--{name} has no effect on {_OPTIONS[search]}; leave it out")
    if search == OUTLIERS:
        return OutlierSearch(config.count)
    if search == DUPLICATES:
        return DuplicateSearch(config.threshold)
    if not query_name:
        raise ConfigError("--query is empty; pass the id of a row or the path of an image file")
    found = query.find(query_name, rows, model=model, background=config.background)
    return NearestSearch(found, config.count)


def _write(
    found: SearchResult, text: str, count: int, rows: EmbeddingRows, directory: epath.Path
) -> None:
    """Writes the result as text, as records and, if the tables have images, as a picture."""
    (directory / TABLE).write_text(text + "\n")
    json_lines.write(directory / RECORDS, presentation.records(found))
    if presentation.IMAGE not in rows.columns:
        console.say(
            f"neighbours: {rows.artifact.path} has no column {presentation.IMAGE}, so there is no "
            "contact sheet; `python -m pipeline embed` writes it with --columns "
            f"{','.join([*rows.columns, presentation.IMAGE])}"
        )
    elif found.groups:
        tiles = presentation.tiles(found, count, rows)
        sheet.draw(directory / SHEET, tiles, title=found.title, subtitle=found.summary)
