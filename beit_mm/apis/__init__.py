"""From a checkpoint to an answer: embeddings, tokens, predictions and exports."""

from beit_mm.apis.export.export_model import Export, export
from beit_mm.apis.images.find_images import find_images
from beit_mm.apis.load_model import load_model
from beit_mm.apis.model import Model

__all__ = ['Export', 'Model', 'export', 'find_images', 'load_model']
