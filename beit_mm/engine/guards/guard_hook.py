from abc import abstractmethod
from dataclasses import dataclass

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from torch import Tensor

from beit_mm.contracts import TrainingState, UserError, check_choice, check_integers

MIN_SAMPLES = 10  # samples of the training that a judgment needs
GROWTH = 1.5  # a reported symptom is reported again when it has grown by this factor
MAX_SYMPTOMS = 8  # in one message
FORGET_AFTER = 3  # checks without a symptom after which it may be reported again


class UnhealthyTrainingError(UserError, RuntimeError):
    """A training does not learn, and a guard has ``action='stop'``."""


@dataclass
class Symptom:
    """What is wrong, with figures, and what to look at; neither text ends with a full stop."""

    text: str
    advice: str
    size: float = 1.0  # may grow


class GuardHook(Hook, TrainingState):
    """Base of the guards: sample the training ten times per interval, evaluate at its end.

    Samples stay on their device; a check adds them over all processes, so that all judge alike. A
    symptom is reported when it appears, and again when it has grown by half or comes back after
    three checks without it. Checkpoints keep what was seen and reported, so that a resumed run
    judges as one that was not interrupted.

    Args:
        interval: Iterations between two checks.
        action: ``warn`` writes to the log, ``stop`` ends the training with an error, ``off``
            disables the guard (MMEngine cannot remove a default hook that is not its own).
    """

    priority = 'NORMAL'
    resumed = ('reported',)

    def __init__(self, interval: int = 100, action: str = 'warn'):
        name = type(self).__name__
        check_choice(name, ('warn', 'stop', 'off'), action=action)
        check_integers(name, 1, interval=interval)
        self.interval, self.action = interval, action
        self.stride = max(interval // MIN_SAMPLES, 1)  # iterations between two samples
        # check -> symptom -> [size, checks since it was there]
        self.reported: dict[str, dict[str, list[float]]] = {}

    @abstractmethod
    def check(self, runner) -> dict[str, dict[str, Symptom] | None]:
        """Return the symptoms that each check finds now, None where it is too early to judge.

        Called on all processes.
        """

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if self.action != 'off' and (runner.iter + 1) % self.interval == 0:
            self.report(runner, f'Step {runner.iter + 1}', self.check(runner))

    def report(self, runner, when: str, found: dict[str, dict[str, Symptom] | None]) -> None:
        """Write the symptoms that are new or have grown to the log.

        Raises:
            UnhealthyTrainingError: With action='stop'.
        """
        new = []
        for check, symptoms in found.items():
            if symptoms is not None:
                new += _new_symptoms(self.reported.setdefault(check, {}), symptoms)
        if not new:
            return
        text = '; '.join(symptom.text for symptom in new[:MAX_SYMPTOMS])
        text += f'; and {len(new) - MAX_SYMPTOMS} more' if len(new) > MAX_SYMPTOMS else ''
        advice = '. '.join(dict.fromkeys(symptom.advice for symptom in new))
        message = f'{when}: {text}. {advice}. ({type(self).__name__}, docs/health.md)'
        if self.action == 'stop':
            raise UnhealthyTrainingError(message)
        runner.logger.warning(message)


def _new_symptoms(reported: dict, symptoms: dict[str, Symptom]) -> list[Symptom]:
    """Return the symptoms that are to be reported, and note it in ``reported``."""
    new = []
    for key, symptom in symptoms.items():
        if key not in reported or symptom.size >= GROWTH * reported[key][0]:
            reported[key] = [float(symptom.size), 0]
            new.append(symptom)
        reported[key][1] = 0
    for key in set(reported) - set(symptoms):
        reported[key][1] += 1
        if reported[key][1] >= FORGET_AFTER:
            del reported[key]
    return new


def over_processes(tensor: Tensor, how: str = 'sum') -> Tensor:
    """Return a copy that is reduced over all processes."""
    tensor = tensor.clone()
    all_reduce(tensor, how)
    return tensor


def is_positive(rate) -> bool:
    """Return whether a learning rate is above 0; a tensor is not read, which would sync."""
    return isinstance(rate, torch.Tensor) or rate > 0


def is_left_out(optimizer: torch.optim.Optimizer) -> bool:
    """Return whether a step, which is about to be made, changes nothing as gradients overflow.

    PyTorch's loss scaler calls other optimizers for whole steps alone, but leaves the decision to
    one with ``fused=True``, in ``found_inf``.
    """
    found = vars(optimizer).get('found_inf')
    return found is not None and bool(found)
