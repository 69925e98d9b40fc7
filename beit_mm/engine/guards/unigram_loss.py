import torch
from torch import Tensor

from beit_mm.contracts import TrainingState
from beit_mm.engine.guards.class_counts import unigram_entropy
from beit_mm.engine.guards.guard_hook import Symptom
from beit_mm.engine.guards.watched_head import Seen, WatchedHead

ADVICE = (
    'Look at the learning rate (too high, or too low to move), whether images and labels belong '
    'together, the normalization of data_preprocessor, and whether the weights of the stage before '
    'were loaded (the load report in the log)'
)
MASKED_ADVICE = (
    'Look at the learning rate (too high, or too low to move), at the normalization of '
    'data_preprocessor, at the masks, whether token_inputs show the same crop as inputs, and '
    'whether the tokenizer is trained'
)


class UnigramLoss(TrainingState):
    """Find a loss that is no better than the unigram entropy.

    It is the cross-entropy of the best prediction that is the same for all inputs: the entropy
    of the targets, of labels as the loss smooths, mixes and weights them. Targets are counted since
    the beginning, the loss since the last judgment.

    Args:
        min_gap: The loss has to be below (1 - min_gap) times the unigram entropy.
    """

    def __init__(self, min_gap: float):
        self.min_gap = min_gap
        self._masses: Tensor | None = None  # (2, K), of all judgments

    def judge(self, head: WatchedHead, seen: Seen, begin: int) -> Symptom | None:
        """Judge the sums of all steps since the last judgment; nothing before ``begin`` counts."""
        if self._masses is None or self._masses.shape != seen.masses.shape:
            self._masses = torch.zeros_like(seen.masses)
        self._masses += seen.masses
        masses, weighted = self._masses
        weights = weighted / masses.clamp(min=1e-12)
        entropy = unigram_entropy(masses, weights) if masses.sum() else 0.0
        total, divisor = seen.loss.tolist()
        loss = total / divisor if divisor else 0.0
        if entropy < 1e-3 or loss < (1 - self.min_gap) * entropy:  # or there is nothing to choose
            return None
        return Symptom(
            f'the cross-entropy of {head.name} is {loss:.4g}, and the unigram entropy (always '
            f'the same prediction, the best one) is {entropy:.4g}, after a warm-up and grace of '
            f'{begin} iterations',
            ADVICE if head.labelled else MASKED_ADVICE,
            loss / entropy,
        )

    def training_state(self) -> dict:
        return dict(masses=self._masses)

    def load_training_state(self, state: dict) -> None:
        self._masses = state['masses']
