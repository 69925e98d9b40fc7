from .beit_encoder import BEiTEncoder

__all__ = ['BEiTEncoder']
