from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from beit_mm.apis.results.result import Result


@dataclass
class Classifications(Result):
    """Classes of images; the keys of a row are those of mmpretrain's inferencer.

    Attributes:
        pred_scores: Probabilities (N, K) of all classes.
        pred_label: The class with the highest, (N,).
        pred_score: Its probability, (N,).
        classes: Names of the classes; None where the training did not say them.
        topk: Classes in a line of the table.
    """

    per_image = ('pred_label', 'pred_score', 'pred_scores')

    pred_label: np.ndarray | None = None
    pred_score: np.ndarray | None = None
    pred_scores: np.ndarray | None = None
    classes: list[str] | None = None
    topk: int = 5

    @classmethod
    def shared(cls, model, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return dict(classes=model.classes, topk=arguments.get('topk', 5))

    @property
    def pred_class(self) -> list[str]:
        """Return the name of the class of each image, its number where it has none."""
        return [self.name_of(label) for label in ([] if not len(self) else self.pred_label)]

    def name_of(self, label: int) -> str:
        known = self.classes is not None and label < len(self.classes)
        return self.classes[label] if known else str(int(label))

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = super().__getitem__(index)
        row['pred_label'], row['pred_score'] = int(row['pred_label']), float(row['pred_score'])
        return dict(row, pred_class=self.name_of(row['pred_label']))

    def top(self) -> tuple[np.ndarray, np.ndarray]:
        """Return labels and probabilities (N, topk) of the likeliest classes, the first first."""
        order = np.argsort(-self.pred_scores, axis=1, kind='stable')[:, : self.topk]
        return order, np.take_along_axis(self.pred_scores, order, axis=1)

    def table(self) -> dict[str, list]:
        """Return the class and its probability, and for topk > 1 those of the next ones."""
        found = dict(file=self.files, pred_label=[], pred_class=self.pred_class, pred_score=[])
        if not len(self):
            return found
        found['pred_label'] = self.pred_label.tolist()
        found['pred_score'] = self.pred_score.tolist()
        labels, scores = self.top()
        for place in range(1, labels.shape[1]):
            found[f'class_{place + 1}'] = [self.name_of(label) for label in labels[:, place]]
            found[f'score_{place + 1}'] = scores[:, place].tolist()
        return found
