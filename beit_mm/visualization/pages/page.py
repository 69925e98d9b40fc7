import base64
from collections.abc import Mapping, Sequence


def render_page(title: str, table: Sequence[Sequence[str]], pictures: Mapping[str, bytes]) -> str:
    """Return a self-contained HTML page with a table and pictures.

    Args:
        table: Rows of cells, the first one the heading.
        pictures: Heading of a picture -> the content of a PNG file.
    """
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader(__package__, ''), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    encoded = {name: base64.b64encode(png).decode() for name, png in pictures.items()}
    return environment.get_template('page.html.jinja').render(
        title=title, table=table, pictures=encoded
    )
