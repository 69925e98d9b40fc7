"""The IoU of each class among the metrics of a run, for the records."""

from beit_mm.evaluation import PerClassResults
from beit_mm.registry import METRICS


@METRICS.register_module()
class ClassIoU(PerClassResults):
    """Adds ``IoU/CLASS`` in percent for each class that the images have."""

    def compute_metrics(self, results: list) -> dict:
        super().compute_metrics(results)
        return {f'IoU/{row["class"]}': row['IoU'] for row in self.rows if row['IoU'] is not None}
