"""A report as one HTML page that needs nothing beside itself."""

import importlib.util

from diffana.errors import PackageError
from diffana.workflow.report.document import Document


def check_installed() -> None:
    """Refuse to begin what could not be ended.

    Raises:
        PackageError: if jinja2 is not installed.
    """
    if importlib.util.find_spec("jinja2") is None:
        raise PackageError("a report needs jinja2: pip install 'diffana[report]'")


def html(document: Document) -> str:
    """The page. Every text in it is escaped, whatever names a configuration has.

    Args:
        document: its content. The markup of figures alone is taken as it is.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("diffana.workflow.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(document=document)
