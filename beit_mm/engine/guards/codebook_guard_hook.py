import logging
import math

from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper

from beit_mm.contracts.codebook_stats import CodebookStats, codebook_stats
from beit_mm.registry import HOOKS

ADVICE = (
    'What keeps a vocabulary in use: a higher end value of the temperature (dVAE; a floor of 1/16 '
    'or more), a smaller kl_weight or none, logit_scale=3.0 or a usage_weight > 0 (dVAE), revival '
    'of dead codes (reset_dead_codes), an entropy_weight > 0 (LFQ, BSQ), a lower learning rate with a longer '
    'warm-up, a smaller vocab_size; docs/tokenizers.md has the reasons'
)
FROZEN_ADVICE = (
    'The targets of masked image modeling carry little information: train the tokenizer again '
    '(its own training shows the same figure), or choose another; docs/tokenizers.md'
)


@HOOKS.register_module()
class CodebookGuardHook(Hook):
    """Watches the use of the vocabulary in training, and warns or stops when it collapses.

    Every ``interval`` steps the token counts of all processes are added over the model's window
    (``model.usage_counts()``: those of a tokenizer in training, those of the targets in
    pre-training). Their figures are logged as ``codebook/codes_used``, ``codes_used_percent``,
    ``dead_codes``, ``entropy`` and ``perplexity``.

    Args:
        min_perplexity: The least that is accepted; a number under 1 is a share of
            min(vocab_size, tokens in the window).
        grace: Training steps before the first judgement; a young tokenizer uses few codes. None
            takes a quarter of the run, at most 1000.
        action: ``warn`` writes to the log at each bad check, ``stop`` ends the training with an
            error.
        patience: Bad checks in a row before the action.
        interval: Steps between two checks.

    Raises:
        CollapsedCodebookError: With action='stop'. The message has figures and advice.
    """

    priority = 'NORMAL'

    def __init__(
        self,
        min_perplexity: float = 0.05,
        grace: int | None = None,
        action: str = 'warn',
        patience: int = 1,
        interval: int = 50,
    ):
        if action not in ('warn', 'stop'):
            raise ValueError(f"CodebookGuardHook.action={action!r}: expected 'warn' or 'stop'")
        for name, value, least in (('patience', patience, 1), ('interval', interval, 1)):
            if value < least:
                raise ValueError(f'CodebookGuardHook.{name}={value}: expected at least {least}')
        if min_perplexity <= 0:
            raise ValueError(
                f'CodebookGuardHook.min_perplexity={min_perplexity}: expected a share in (0, 1) '
                'or a number of codes of at least 1'
            )
        self.min_perplexity = min_perplexity
        self.grace = grace
        self.action = action
        self.patience = patience
        self.interval = interval
        self.bad_checks = 0

    def before_train(self, runner) -> None:
        model = _unwrapped(runner.model)
        if not hasattr(model, 'usage_counts'):
            raise ValueError(
                f'CodebookGuardHook: {type(model).__name__} has no usage_counts(); it watches '
                'tokenizers and masked image models, set default_hooks=dict(codebook_guard=None), '
                'or remove it from custom_hooks'
            )
        last = runner.max_iters // self.interval * self.interval
        if self.grace is not None and self.grace >= last:
            print_log(
                f'CodebookGuardHook.grace={self.grace}: the last check is at step {last} (interval='
                f'{self.interval}), so no collapse would be noticed; set grace lower, or leave it '
                'out',
                logger='current',
                level=logging.WARNING,
            )

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        step = runner.iter + 1
        if step % self.interval:
            return
        counts = _unwrapped(runner.model).usage_counts()
        if counts is None:  # continuous targets
            return
        counts = counts.clone()
        all_reduce(counts)
        health = codebook_stats(counts)
        for name, value in health.scalars().items():
            runner.message_hub.update_scalar(f'train/codebook/{name}', value)
        grace = min(runner.max_iters // 4, 1000) if self.grace is None else self.grace
        if step > grace and health.tokens:
            self._judge(health, step, frozen=hasattr(_unwrapped(runner.model), 'tokenizer'))

    def training_state(self) -> dict[str, int]:
        return dict(bad_checks=self.bad_checks)

    def load_training_state(self, state: dict[str, int]) -> None:
        self.bad_checks = state['bad_checks']

    def threshold(self, possible: int) -> float:
        """The least perplexity that is accepted where so many codes could be in use."""
        if self.min_perplexity < 1:
            return self.min_perplexity * possible
        return self.min_perplexity

    def _judge(self, health: CodebookStats, step: int, frozen: bool) -> None:
        least = self.threshold(health.possible)
        # A NaN is bad too.
        good = math.isfinite(health.perplexity) and health.perplexity >= least
        self.bad_checks = 0 if good else self.bad_checks + 1
        if self.bad_checks < self.patience:
            return
        message = (
            f'Step {step}: the vocabulary has collapsed, perplexity {health.perplexity:.1f} is '
            f'under {least:.1f} (CodebookGuardHook.min_perplexity={self.min_perplexity}). '
            f'{health}. {FROZEN_ADVICE if frozen else ADVICE}.'
        )
        if self.action == 'stop':
            raise CollapsedCodebookError(message)
        print_log(message, logger='current', level=logging.WARNING)


class CollapsedCodebookError(ValueError):
    """A training that goes on with a collapsed vocabulary."""


def _unwrapped(model):
    return model.module if is_model_wrapper(model) else model
