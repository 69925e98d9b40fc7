from abc import ABC, abstractmethod


class TrainingState(ABC):
    """A module or hook with state that ``resume`` needs and that no state dict holds.

    AtomicCheckpointHook saves it for each process, and loads it into the part of the same name.
    """

    @abstractmethod
    def training_state(self) -> dict:
        """Return tensors and plain values."""

    @abstractmethod
    def load_training_state(self, state: dict) -> None:
        """Restore what :meth:`training_state` returned."""
