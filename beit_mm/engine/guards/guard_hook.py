from abc import abstractmethod
from dataclasses import dataclass

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import Hook
from torch import Tensor

LOOKS = 10  # that a judgement needs
GROWTH = 1.5  # of what was told, for telling it again
MOST = 8  # symptoms in one message
FORGET = 3  # checks without it, until what comes back is told again


class UnhealthyTrainingError(RuntimeError):
    """A training that goes on without learning, where a guard has ``action='stop'``."""


@dataclass
class Symptom:
    """What is wrong, with figures, and causes to look at; neither ends with a full stop."""

    text: str
    advice: str
    size: float = 1.0  # it may grow


class GuardHook(Hook):
    """What the guards have in common: some looks in each interval, one check at its end.

    A look leaves tensors where they are; a check reads them, added over all processes, so that
    all judge alike. A symptom is told when it appears, not at each check, and again when it has
    grown by half or comes back after three checks without it.

    Checkpoints keep what was seen and told (``training_state``), so a resumed run judges as the
    one that wasn't interrupted.

    Args:
        interval: Iterations between two checks.
        action: ``warn`` writes to the log, ``stop`` ends the training with an error, ``off`` looks
            at nothing (MMEngine can't remove a default hook that is not its own).
    """

    priority = 'NORMAL'

    def __init__(self, interval: int = 100, action: str = 'warn'):
        name = type(self).__name__
        if action not in ('warn', 'stop', 'off'):
            raise ValueError(f"{name}.action={action!r}: expected 'warn', 'stop' or 'off'")
        if interval < 1:
            raise ValueError(f'{name}.interval={interval}: expected at least 1')
        self.interval, self.action = interval, action
        self.stride = max(interval // LOOKS, 1)  # iterations between two looks
        self.told: dict[str, list[float]] = {}  # size, and checks since it was there

    @abstractmethod
    def check(self, runner) -> dict[str, Symptom] | None:
        """All that is wrong now; None if it is too early to judge. Called on all processes."""

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if self.action != 'off' and (runner.iter + 1) % self.interval == 0:
            symptoms = self.check(runner)
            if symptoms is not None:
                self.tell(runner, f'Step {runner.iter + 1}', symptoms)

    def tell(self, runner, when: str, symptoms: dict[str, Symptom]) -> None:
        """Those that are new or have grown.

        Raises:
            UnhealthyTrainingError: With action='stop'.
        """
        new = []
        for key, symptom in symptoms.items():
            if key not in self.told or symptom.size >= GROWTH * self.told[key][0]:
                self.told[key] = [float(symptom.size), 0]
                new.append(symptom)
            self.told[key][1] = 0
        for key in set(self.told) - set(symptoms):
            self.told[key][1] += 1
            if self.told[key][1] >= FORGET:
                del self.told[key]
        if not new:
            return
        told = '; '.join(symptom.text for symptom in new[:MOST])
        told += f'; and {len(new) - MOST} more' if len(new) > MOST else ''
        advice = '. '.join(dict.fromkeys(symptom.advice for symptom in new))
        message = f'{when}: {told}. {advice}. ({type(self).__name__}, docs/health.md)'
        if self.action == 'stop':
            raise UnhealthyTrainingError(message)
        runner.logger.warning(message)

    def training_state(self) -> dict:
        return dict(told={key: list(value) for key, value in self.told.items()})

    def load_training_state(self, state: dict) -> None:
        self.told = {key: list(value) for key, value in state['told'].items()}


def over_processes(tensor: Tensor, how: str = 'sum') -> Tensor:
    """A copy, reduced over all processes."""
    tensor = tensor.clone()
    if get_world_size() > 1:
        all_reduce(tensor, how)
    return tensor


def is_positive(rate) -> bool:
    """Of a learning rate; reading one on a device would make the training wait for it."""
    return isinstance(rate, torch.Tensor) or rate > 0
