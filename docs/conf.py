"""The site of these pages: ``python -m sphinx -W --keep-going docs build/site``.

Nothing is fetched, neither while it is built nor while it is read.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / '_extensions'), str(HERE.parent)]

import beit_mm  # noqa: E402

project = 'beit_mm'
author = 'the beit_mm contributors'
release = version = beit_mm.__version__
language = 'en'

extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon', 'reference']
exclude_patterns = ['_extensions']
myst_heading_anchors = 4  # links to headings are checked
myst_enable_extensions = ['colon_fence']

add_module_names = False
autodoc_member_order = 'bysource'
autodoc_preserve_defaults = True
default_role = 'code'
napoleon_google_docstring, napoleon_numpy_docstring = True, False
napoleon_custom_sections = [('Metrics', 'params_style')]
napoleon_use_ivar = True  # an attribute is described once, by its class
python_maximum_signature_line_length = 80

html_theme = 'furo'
html_title = f'beit_mm {release}'
html_static_path = ['_static']
html_css_files = ['site.css']
html_copy_source = False
html_show_copyright = html_show_sphinx = False
html_theme_options = {'navigation_with_keys': True}
pygments_style, pygments_dark_style = 'friendly', 'monokai'
