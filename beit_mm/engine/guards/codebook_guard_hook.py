import math
from collections.abc import Mapping

import torch
from mmengine.hooks import Hook
from torch import Tensor

from beit_mm.contracts import (
    Tokenizer,
    TokenSource,
    TrainingState,
    UserError,
    check_choice,
    check_integers,
    warn,
)
from beit_mm.contracts.codebook_stats import CodebookStats, codebook_stats
from beit_mm.contracts.runner_access import model_of
from beit_mm.models.layers.joint_sum import joint_sum
from beit_mm.registry import HOOKS

ADVICE = (
    'What keeps a vocabulary in use, where the tokenizer has it: a higher end value of the '
    'temperature (1/16 or more), a smaller kl_weight or none, logit_scale=3.0, a usage_weight or '
    'entropy_weight > 0, a reset of dead codes (reset_dead_codes); and a lower learning rate with '
    'a longer warm-up, or a smaller vocab_size. docs/tokenizers.md has the reasons'
)
FROZEN_ADVICE = (
    'The targets of masked image modeling carry little information: train the tokenizer again '
    '(its own training shows the same figure), or choose another; docs/tokenizers.md'
)
# Names of the loss of the targets in the outputs of a step. ``loss`` is the sum of all terms.
CROSS_ENTROPIES = ('cross_entropy', 'cross_entropy_main', 'loss_main', 'loss')


@HOOKS.register_module()
class CodebookGuardHook(Hook, TrainingState):
    """Log the use of the vocabulary in training, and warn or stop when it collapses.

    It counts the tokens of the model (a TokenSource) over the latest ``usage_window`` steps of all
    processes, and logs in each step

    - for a tokenizer in training ``codes_used`` and ``perplexity``;
    - for a masked image model ``target_codes``, ``target_perplexity``, ``unigram_entropy``, the
      entropy of the targets in nats (the loss of the best predictor that ignores the image), and
      ``gain_over_unigram``, 1 - loss / unigram_entropy.

    Every ``interval`` steps it logs ``codebook/codes_used``, ``codes_used_percent``,
    ``dead_codes``, ``entropy`` and ``perplexity``, and judges the perplexity.

    Args:
        min_perplexity: The least that is accepted. A number below 1 is a share of
            min(vocab_size, tokens in the window).
        grace: Training steps before the first judgment, since a young tokenizer uses few codes.
            None takes a quarter of the run, at most 1000.
        action: ``warn`` writes to the log at each bad check, ``stop`` ends the training with an
            error.
        patience: Bad checks in a row before the action.
        interval: Steps between two checks.
        usage_window: Steps whose tokens are counted together.

    Raises:
        CollapsedCodebookError: With action='stop'. The message has figures and advice.
        UserError: The model is no TokenSource.
    """

    priority = 'NORMAL'  # before the logger

    def __init__(
        self,
        min_perplexity: float = 0.05,
        grace: int | None = None,
        action: str = 'warn',
        patience: int = 1,
        interval: int = 50,
        usage_window: int = 50,
    ):
        check_choice('CodebookGuardHook', ('warn', 'stop'), action=action)
        counts = dict(patience=patience, interval=interval, usage_window=usage_window)
        check_integers('CodebookGuardHook', 1, **counts)
        if min_perplexity <= 0:
            raise UserError(
                f'CodebookGuardHook.min_perplexity={min_perplexity}: expected a share in (0, 1) '
                'or a number of codes of at least 1'
            )
        self.min_perplexity = min_perplexity
        self.grace = grace
        self.action = action
        self.patience = patience
        self.interval = interval
        self.usage_window = usage_window
        self.bad_checks = 0
        self._window: TokenWindow | None = None
        self._saved_window: dict | None = None
        self._loss_name: str | None = None

    def before_train(self, runner) -> None:
        model = model_of(runner)
        if not isinstance(model, TokenSource):
            raise UserError(
                f'CodebookGuardHook: {type(model).__name__} makes no tokens (it is no '
                'TokenSource); it watches tokenizers and masked image models, set '
                'default_hooks=dict(codebook_guard=None), or remove it from custom_hooks'
            )
        self._window = None
        if model.vocab_size is not None:  # else the targets are continuous
            self._window = TokenWindow(model.vocab_size, self.usage_window)
            if self._saved_window is not None:
                self._window.load_training_state(self._saved_window)
        self._saved_window = None
        last = runner.max_iters // self.interval * self.interval
        if self.grace is not None and self.grace >= last:
            warn(
                f'CodebookGuardHook.grace={self.grace}: the last check is at step {last} (interval='
                f'{self.interval}), so no collapse would be noticed; set grace lower, or leave it '
                'out'
            )

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        model = model_of(runner)
        if self._window is None or model.latest_ids is None:
            return
        is_tokenizer = isinstance(model, Tokenizer)
        loss = None if is_tokenizer else self._loss_of(outputs)
        counts = self._window.add(model.latest_ids, loss)
        figures = self._figures(counts, is_tokenizer)
        step = runner.iter + 1
        if step % self.interval == 0:
            stats = codebook_stats(counts)
            figures |= {f'codebook/{name}': value for name, value in stats.scalars().items()}
        for name, value in figures.items():
            if math.isfinite(value := float(value)):
                runner.message_hub.update_scalar(f'train/{name}', value)
        grace = min(runner.max_iters // 4, 1000) if self.grace is None else self.grace
        if step % self.interval == 0 and step > grace and stats.tokens:
            self._judge(stats, step, ADVICE if is_tokenizer else FROZEN_ADVICE)

    def _loss_of(self, outputs: Mapping | None) -> Tensor | float:
        """Return the cross-entropy of the step, NaN where it was left out as not finite."""
        outputs = outputs or {}
        if self._loss_name is None:
            self._loss_name = next((name for name in CROSS_ENTROPIES if name in outputs), None)
        return outputs.get(self._loss_name, math.nan)

    def _figures(self, counts: Tensor, is_tokenizer: bool) -> dict[str, Tensor]:
        codes_used = (counts > 0).sum().float()
        if is_tokenizer:
            entropy = torch.special.entr(counts / counts.sum()).sum()
            return dict(codes_used=codes_used, perplexity=entropy.exp())
        entropy = torch.special.entr(counts / counts.sum().clamp(min=1)).sum()
        return dict(
            target_codes=codes_used,
            target_perplexity=entropy.exp(),
            unigram_entropy=entropy,
            gain_over_unigram=self._window.compare_loss(entropy),
        )

    def threshold(self, possible: int) -> float:
        """Return the least perplexity that is accepted where ``possible`` codes could be in use."""
        if self.min_perplexity < 1:
            return self.min_perplexity * possible
        return self.min_perplexity

    def _judge(self, stats: CodebookStats, step: int, advice: str) -> None:
        least = self.threshold(stats.possible)
        is_good = math.isfinite(stats.perplexity) and stats.perplexity >= least
        self.bad_checks = 0 if is_good else self.bad_checks + 1
        if self.bad_checks < self.patience:
            return
        message = (
            f'Step {step}: the vocabulary has collapsed, perplexity {stats.perplexity:.1f} is '
            f'under {least:.1f} (CodebookGuardHook.min_perplexity={self.min_perplexity}). '
            f'{stats}. {advice}.'
        )
        if self.action == 'stop':
            raise CollapsedCodebookError(message)
        warn(message)

    def training_state(self) -> dict:
        window = None if self._window is None else self._window.training_state()
        return dict(bad_checks=self.bad_checks, window=window)

    def load_training_state(self, state: dict) -> None:
        self.bad_checks = state['bad_checks']
        self._saved_window = state.get('window')  # the model is not known yet


class CollapsedCodebookError(UserError):
    """A training goes on with a collapsed vocabulary."""


class TokenWindow(TrainingState):
    """Tokens of the latest training steps, and the losses of their prediction.

    Args:
        size: Steps that are counted together.
    """

    def __init__(self, vocab_size: int, size: int):
        self.counts = torch.zeros(size, vocab_size, dtype=torch.long)  # of this process
        self.loss_sums = torch.zeros(size)
        self.step = 0

    @torch.no_grad()
    def add(self, ids: Tensor, loss: Tensor | float | None = None) -> Tensor:
        """Add a step and return the counts (V,) of the window, of all processes.

        Args:
            ids: Tokens of this process, of any shape.
            loss: Mean cross-entropy of their prediction, in nats.
        """
        self.counts = self.counts.to(ids.device)
        row = self.step % len(self.counts)
        self.counts[row] = torch.bincount(ids.flatten(), minlength=self.counts.shape[1])
        if loss is not None:
            self.loss_sums = self.loss_sums.to(ids.device)
            self.loss_sums[row] = loss * ids.numel()
        self.step += 1
        return joint_sum(self.counts.sum(0))

    @torch.no_grad()
    def compare_loss(self, unigram_entropy: Tensor) -> Tensor:
        """Return what part of the unigram entropy is predicted, 1 - loss / unigram_entropy.

        It is 0 for the best prediction that ignores the image, and 1 for a perfect one. Steps whose
        loss is not finite are left out. One token alone leaves nothing to predict: 0.
        """
        known = self.loss_sums.isfinite()
        targets = self.counts.sum(1)
        loss, size = joint_sum(torch.stack([self.loss_sums[known].sum(), targets[known].sum()]))
        return torch.where(unigram_entropy > 0, 1 - loss / size / unigram_entropy, 0.0)

    def training_state(self) -> dict:
        counts = self.counts.to(torch.int32).cpu()
        return dict(counts=counts, loss_sums=self.loss_sums.cpu(), step=self.step)

    def load_training_state(self, state: dict) -> None:
        if state['counts'].shape == self.counts.shape:  # else a new window begins
            self.counts, self.loss_sums = state['counts'].long(), state['loss_sums'].clone()
            self.step = state['step']
