from .backbone_teacher import BackboneTeacher
from .base_teacher import BaseTeacher
from .clip_teacher import CLIPTeacher
from .hf_teacher import HFTeacher
from .timm_teacher import TimmTeacher

__all__ = ['BackboneTeacher', 'BaseTeacher', 'CLIPTeacher', 'HFTeacher', 'TimmTeacher']
