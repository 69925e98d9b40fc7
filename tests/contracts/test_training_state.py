import torch

from beit_mm.contracts import TrainingState


class Part(TrainingState):
    resumed = ('step', 'counts', 'waiting')

    def __init__(self, step):
        self.step, self.counts, self.waiting = step, torch.full((2,), step), [torch.ones(step)]


class Whole(TrainingState):
    resumed = ('part',)

    def __init__(self, step):
        self.part = Part(step)


def test_state__of_a_part_and_of_parts_in_it_comes_back():
    state = Whole(3).training_state()
    assert set(state['part']) == {'step', 'counts', 'waiting'}
    other = Whole(0)
    part = other.part
    other.load_training_state(state)
    assert other.part is part and part.step == 3
    assert part.counts.tolist() == [3, 3] and part.waiting[0].tolist() == [1, 1, 1]
