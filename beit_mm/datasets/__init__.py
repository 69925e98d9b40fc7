from . import transforms  # noqa: F401
from .unlabelled_image_folder import UnlabelledImageFolder

__all__ = ['UnlabelledImageFolder']
