from .resumable_sampler import ResumableSampler, SeededIndex

__all__ = ['ResumableSampler', 'SeededIndex']
