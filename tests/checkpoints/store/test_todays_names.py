import torch
import torch.nn as nn

from beit_mm.checkpoints.store import with_todays_names
from beit_mm.contracts import Tokenizer


class Renamed(Tokenizer):
    renamed_tensors = {'centres': 'centers', 'old.': 'new.'}

    def __init__(self):
        super().__init__(vocab_size=2, stride=1)

    def encode(self, images):
        raise NotImplementedError


def test_names__of_a_tokenizer_alone_and_inside_a_model():
    model = nn.ModuleDict(dict(tokenizer=Renamed(), head=nn.Linear(1, 1)))
    names = ('centres', 'old.weight', 'same')
    state = {f'tokenizer.{name}': torch.ones(()) for name in names} | {
        'head.centres': torch.ones(1)
    }
    assert set(with_todays_names(state, model)) == {
        *('tokenizer.centers', 'tokenizer.new.weight', 'tokenizer.same', 'head.centres'),
    }
    assert 'tokenizer.centres' in state  # is left as it was
    assert set(with_todays_names({'centres': torch.ones(())}, Renamed())) == {'centers'}
