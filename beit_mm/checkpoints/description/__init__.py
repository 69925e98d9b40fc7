"""What a training passes on to the next one, and where the two do not agree.

Tokenizer, pre-training and fine-tuning are separate runs that have to treat images, patches and
tokens alike. :func:`describe` makes the description that is stored in a checkpoint, :func:`here_of`
the same facts of a model at hand, and :func:`differences` compares them.
"""

from beit_mm.checkpoints.description.describe import (
    describe,
    facts_of,
    here_of,
    join_facts,
    tokenizer_facts,
)
from beit_mm.checkpoints.description.differences import StageMismatchError, differences
from beit_mm.checkpoints.description.images import images_of
from beit_mm.contracts.target import tokenizer_of
