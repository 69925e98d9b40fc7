import torch.nn as nn

from beit_mm.apis.batch import Batch
from beit_mm.apis.results import Embeddings
from beit_mm.apis.verbs.verb import ENCODERS, Rows, Verb, backbone_of, check_layer, rows_of
from beit_mm.contracts import UserError
from beit_mm.evaluation.layer_features import has_layers, layer_output

POOLS = ('mean', 'cls', 'patches')


def check(module: nn.Module, layer: int = -1, pool: str = 'mean') -> None:
    backbone = backbone_of(module)
    if pool not in POOLS:
        raise UserError(f'pool={pool!r}: expected one of {", ".join(POOLS)}')
    if has_layers(backbone):
        check_layer(backbone, layer)
    elif layer != -1:
        raise UserError(
            f'layer={layer}: {type(backbone).__name__} gives its last output alone; take layer=-1'
        )


def rows(module: nn.Module, batch: Batch, layer: int = -1, pool: str = 'mean') -> Rows:
    """Return ``features``: the mean of the patch tokens, the class token, or a map (h, w, C)."""
    backbone = backbone_of(module)
    features, first = layer_output(backbone, batch.inputs, layer)
    if pool == 'cls' and first is None:
        raise UserError(f"pool='cls': {type(backbone).__name__} has no class token; take 'mean'")
    if pool == 'cls':
        features = first
    elif pool == 'mean':
        features = features.mean((1, 2))
    return rows_of(features=features.float())


EMBED = Verb(ENCODERS, Embeddings, rows, check)
