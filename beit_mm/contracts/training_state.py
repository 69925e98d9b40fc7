from typing import Any

from torch import Tensor


class TrainingState:
    """A module or hook with state that ``resume`` needs and that no state dict holds.

    AtomicCheckpointHook saves it for each process, and loads it into the part of the same name. A
    part says in ``resumed`` what it is, or has both methods itself.

    Attributes:
        resumed: Names of the attributes that are saved: plain values, tensors, lists of them, and
            parts that are a TrainingState themselves.
    """

    resumed: tuple[str, ...] = ()

    def training_state(self) -> dict:
        """Return tensors, on the CPU, and plain values."""
        return {name: _saved(vars(self)[name]) for name in self.resumed}

    def load_training_state(self, state: dict) -> None:
        """Restore what :meth:`training_state` returned."""
        for name in self.resumed:
            part = vars(self)[name]
            if isinstance(part, TrainingState):
                part.load_training_state(state[name])
            else:
                setattr(self, name, state[name])


def _saved(value: Any) -> Any:
    if isinstance(value, TrainingState):
        return value.training_state()
    if isinstance(value, Tensor):
        return value.cpu()
    return [_saved(item) for item in value] if isinstance(value, list) else value
