import base64
from typing import Any

import cv2
import numpy as np

WIDEST = 480  # pixels of an image in a page


def render_page(**content: Any) -> str:
    """Return a self-contained HTML page that fits on a phone; all text in it is escaped.

    Args:
        title, subtitle: Text at the top.
        verdicts: Objects with ``mark`` ('good', 'unsure', 'bad', 'note') and ``text``.
        table: Rows of cells, the first one the heading; of any table here.
        curves: Heading -> label of a diagram -> its source, as of :func:`svg_source`.
        shared: Sections of pictures: objects with ``heading``, ``note``, ``titles`` of the columns,
            ``rows`` of sources, ``legend`` (name and color), ``figure`` (a source) and ``table``.
        runs: Dicts with ``name``, ``facts`` (name, value, is it code), ``metrics`` (a table),
            ``sections`` (as ``shared``), ``guards`` and ``notes`` (texts).
        steps: Texts, each with a command or ''.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(__package__, ''),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    return environment.get_template('page.html.jinja').render(content)


def png_source(image: np.ndarray) -> str:
    """Return an image, uint8 RGB (H, W, 3), as an address of its own content; large ones shrink."""
    share = WIDEST / max(image.shape[:2])
    if share < 1:
        image = cv2.resize(image, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
    content = cv2.imencode('.png', np.ascontiguousarray(image[..., ::-1]))[1].tobytes()
    return f'data:image/png;base64,{base64.b64encode(content).decode()}'


def svg_source(document: str) -> str:
    """Return an SVG document as an address of its own content."""
    return f'data:image/svg+xml;base64,{base64.b64encode(document.encode()).decode()}'
