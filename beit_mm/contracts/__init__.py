"""What the parts of a training may ask of each other.

Base classes with declared attributes, methods and defaults, and the few values that travel between
rooms. Every room may import this one; it imports torch and mmengine alone.
"""

from beit_mm.contracts.backbone import Backbone
from beit_mm.contracts.errors import (
    MissingFileError,
    MissingPackageError,
    UserError,
    check_choice,
    check_integers,
    printable,
    some,
    warn,
)
from beit_mm.contracts.feature_extractor import FeatureExtractor
from beit_mm.contracts.finding import Finding, guarded
from beit_mm.contracts.mim_head import MIMHead
from beit_mm.contracts.mim_neck import MIMNeck
from beit_mm.contracts.quantizer import Quantizer
from beit_mm.contracts.sample_source import FileReader, SampleSource, WrappedSource
from beit_mm.contracts.target import Target
from beit_mm.contracts.tokenizer import Tokenizer, TokenSource
from beit_mm.contracts.training_state import TrainingState
