"""Self-contained HTML pages, which share one base template and style sheet.

All texts are escaped, since names come from strangers. A page runs only its own scripts, and loads
nothing from the network.
"""

import base64
import hashlib
import importlib.resources
from collections.abc import Sequence
from typing import Any

_BASE = "pipeline.evaluate.templates"
_TEMPLATE, _STYLE = "page.html", "page.css"


def render(
    template: str,
    *,
    folder: str = _BASE,
    styles: Sequence[str] = (),
    scripts: Sequence[str] = (),
    **values: Any,
) -> str:
    """Renders a template that extends `page.html`.

    Args:
      template: name of the template.
      folder: the folder of the template, its style sheets and scripts, as a package.
      styles: names of style sheets, besides that of all pages.
      scripts: names of scripts.
      **values: values for the template; `title` is the title of the window.
    """
    import jinja2  # Not needed for pages that are up to date.

    def source(name: str) -> str:
        return _asset(_BASE if name == _TEMPLATE else folder, name)

    script = "".join(_asset(folder, name) for name in scripts)
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(source),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(template).render(
        **values,
        style=_asset(_BASE, _STYLE) + "".join(_asset(folder, name) for name in styles),
        script=script,
        script_source=f"'sha256-{_hash(script)}'" if script else "'none'",
    )


def _asset(folder: str, name: str) -> str:
    """The text of a template, a style sheet or a script."""
    return importlib.resources.files(folder).joinpath(name).read_text("utf-8")


def _hash(script: str) -> str:
    """The digest by which a content security policy recognizes a script."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
