import torch
import torch.nn as nn

from beit_mm.apis.batch import Batch
from beit_mm.apis.results import Classifications
from beit_mm.apis.verbs.verb import Rows, Verb, is_integer, rows_of
from beit_mm.contracts import UserError


def check(module: nn.Module, topk: int = 5) -> None:
    if not is_integer(topk) or topk < 1:
        raise UserError(f'topk={topk!r}: expected at least 1')


def rows(module: nn.Module, batch: Batch, topk: int = 5) -> Rows:
    """Return what the head predicts of the classes; ``topk`` is for the table alone."""
    samples = module(batch.inputs, None, mode='predict')
    scores = torch.stack([sample.pred_score for sample in samples]).float()  # (B, K)
    labels = scores.argmax(1)
    best = scores.gather(1, labels[:, None])[:, 0]
    return rows_of(pred_label=labels, pred_score=best, pred_scores=scores)


CLASSIFY = Verb(('classification',), Classifications, rows, check)
