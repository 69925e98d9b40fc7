import inspect

from mmcv.transforms import BaseTransform


class Transform(BaseTransform):
    """Base of the transforms here; ``repr`` shows the arguments that are kept as attributes."""

    def __repr__(self) -> str:
        kept = [name for name in inspect.signature(type(self)).parameters if name in vars(self)]
        shown = ', '.join(f'{name}={vars(self)[name]!r}' for name in kept)
        return f'{type(self).__name__}({shown})'
