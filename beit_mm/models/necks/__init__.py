from beit_mm.models.necks.masked_patch_neck import MaskedPatchNeck
from beit_mm.models.necks.patch_aggregation_neck import PatchAggregationNeck
from beit_mm.models.necks.patch_mean_neck import PatchMeanNeck
