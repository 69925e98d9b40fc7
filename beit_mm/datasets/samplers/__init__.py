from beit_mm.datasets.samplers.resumable_sampler import ResumableSampler, SeededIndex

__all__ = ['ResumableSampler', 'SeededIndex']
