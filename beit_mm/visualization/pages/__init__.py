from beit_mm.visualization.pages.page import render_page

__all__ = ['render_page']
