from beit_mm.datasets.samplers.resumable_sampler import ResumableSampler
from beit_mm.datasets.samplers.seeded_index import SeededIndex
