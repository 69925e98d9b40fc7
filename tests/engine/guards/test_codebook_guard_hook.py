import logging
import math
from itertools import count
from types import SimpleNamespace

import pytest
import torch
import torch.nn as nn
from mmengine.logging import MessageHub
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch.utils.data import TensorDataset

from beit_mm.contracts import Tokenizer, TokenSource, errors
from beit_mm.engine import CodebookGuardHook, CollapsedCodebookError

numbers = count()
HEALTHY = [8] * 16
COLLAPSED = [128] + [0] * 15


class Model(nn.Module, TokenSource):
    """Makes tokens with the counts of :func:`ids_of` in each step."""

    def __init__(self, vocab_size):
        super().__init__()
        self.vocab_size = vocab_size


class TinyTokenizer(Tokenizer):
    def __init__(self, vocab_size):
        super().__init__(vocab_size, stride=1)

    def encode(self, images):
        raise NotImplementedError


def ids_of(counts):
    return torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))


def runner(counts, max_iters=4000, kind=TinyTokenizer):
    hub = MessageHub.get_instance(f'guard{next(numbers)}')
    model = kind(len(counts))
    model.latest_ids = ids_of(counts)
    return SimpleNamespace(model=model, iter=0, message_hub=hub, max_iters=max_iters)


def steps(hook, own, number, **outputs):
    if own.iter == 0:
        hook.before_train(own)
    for _ in range(number):
        hook.after_train_iter(own, 0, outputs=outputs)
        own.iter += 1


def guard(**kwargs):
    settings = dict(min_perplexity=2.0, grace=4, action='stop', interval=1, usage_window=1)
    return HOOKS.build(dict(type='beit_mm.CodebookGuardHook', **dict(settings, **kwargs)))


def test_stop__after_the_grace_period_and_not_before():
    hook, own = guard(), runner(COLLAPSED)
    steps(hook, own, 4)
    text = 'Step 5.*perplexity 1.0 is under 2.0'
    with pytest.raises(CollapsedCodebookError, match=text) as error:
        steps(hook, own, 1)
    for advice in ('temperature', 'kl_weight', 'logit_scale', 'usage_weight', 'learning rate'):
        assert advice in str(error.value)
    assert '1 of 16 codes used' in str(error.value)


@pytest.mark.parametrize(('max_iters', 'first'), [(40, 11), (400, 101), (40_000, 1001)])
def test_grace__without_a_number_a_quarter_of_the_run_and_at_most_1000(max_iters, first):
    hook, own = guard(grace=None), runner(COLLAPSED, max_iters)
    steps(hook, own, first - 1)
    with pytest.raises(CollapsedCodebookError, match=f'Step {first}'):
        steps(hook, own, 1)


@pytest.mark.parametrize(
    ('grace', 'interval', 'told'),
    [(40, 1, True), (39, 1, False), (None, 1, False), (30, 15, True), (29, 15, False)],
)
def test_grace__as_long_as_the_run_is_told(grace, interval, told, monkeypatch):
    lines = []
    monkeypatch.setattr(errors, 'print_log', lambda text, **kwargs: lines.append(text))
    guard(grace=grace, interval=interval).before_train(runner(HEALTHY, max_iters=40))
    last = 40 // interval * interval
    assert bool(lines) == told
    assert all(f'grace={grace}: the last check is at step {last}' in line for line in lines)


def test_healthy_vocabulary__goes_on_and_logs_its_figures():
    own = runner(HEALTHY)
    steps(guard(), own, 20)
    logged = {
        name: own.message_hub.get_scalar(f'train/codebook/{name}').current()
        for name in ('codes_used', 'codes_used_percent', 'dead_codes', 'perplexity')
    }
    assert logged.pop('perplexity') == pytest.approx(16)
    assert logged == dict(codes_used=16, codes_used_percent=100, dead_codes=0)


def test_patience__a_good_check_starts_it_again():
    hook, own = guard(patience=3, grace=0), runner(COLLAPSED)
    steps(hook, own, 2)
    own.model.latest_ids = ids_of(HEALTHY)
    steps(hook, own, 1)
    own.model.latest_ids = ids_of(COLLAPSED)
    steps(hook, own, 2)
    with pytest.raises(CollapsedCodebookError):
        steps(hook, own, 1)


def test_warn__writes_and_goes_on(monkeypatch):
    written = []
    monkeypatch.setattr(errors, 'print_log', lambda text, **kwargs: written.append((text, kwargs)))
    steps(guard(action='warn'), runner(COLLAPSED), 6)
    assert len(written) == 2
    assert all('the vocabulary has collapsed' in text for text, _ in written)
    assert {kwargs['level'] for _, kwargs in written} == {logging.WARNING}


def test_threshold__a_share_counts_the_codes_that_so_few_tokens_can_use():
    hook = guard(min_perplexity=0.5, grace=0)
    steps(hook, runner([1, 1, 1, 1] + [0] * 100), 1)  # four tokens, four codes
    with pytest.raises(CollapsedCodebookError, match='under 8.0'):
        steps(hook, runner([100, 100, 100, 100] + [0] * 12), 1)


def test_masked_image_model__advice_about_the_targets():
    own = runner(COLLAPSED, kind=Model)
    with pytest.raises(CollapsedCodebookError, match='train the tokenizer again'):
        steps(guard(), own, 5)


def test_continuous_targets__nothing_to_watch():
    own = runner(COLLAPSED, kind=Model)
    own.model.vocab_size = None
    steps(guard(), own, 10)
    assert not own.message_hub.log_scalars


@pytest.mark.parametrize(
    'wrong, message',
    [
        (dict(action='pray'), "action='pray'"),
        (dict(patience=0), 'patience=0'),
        (dict(interval=0), 'interval=0'),
        (dict(usage_window=0), 'usage_window=0'),
        (dict(min_perplexity=0.0), 'min_perplexity=0.0'),
    ],
)
def test_arguments__named_in_errors(wrong, message):
    with pytest.raises(ValueError, match=message):
        guard(**wrong)


def test_a_model_without_tokens__refused_before_the_first_step():
    own = SimpleNamespace(model=nn.Linear(1, 1))
    with pytest.raises(ValueError, match='Linear makes no tokens'):
        CodebookGuardHook().before_train(own)


def collapsing_run(work_dir, **tokenizer):
    """A dVAE whose KL term is all that counts, on images of one patch each."""
    images = torch.rand(64, 3, 1, 1).expand(64, 3, 8, 8).contiguous()
    settings = dict(vocab_size=32, stride=4, width=8, num_blocks=1, code_dim=4)
    return Runner(
        model=dict(type='beit_mm.DVAETokenizer', **dict(settings, **tokenizer)),
        work_dir=str(work_dir),
        train_dataloader=dict(
            batch_size=64,
            sampler=dict(type='InfiniteSampler', shuffle=False),
            dataset=Images(images),
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=60),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.2)),
        custom_hooks=[
            dict(
                type='beit_mm.CodebookGuardHook',
                min_perplexity=0.1,
                grace=20,
                action='stop',
                interval=10,
                usage_window=5,
            )
        ],
        default_hooks=dict(checkpoint=None, logger=dict(type='LoggerHook', interval=1000)),
        default_scope='beit_mm',
        experiment_name=f'guard_{work_dir.name}',
    )


class Images(TensorDataset):
    def __getitem__(self, index):
        return dict(inputs=super().__getitem__(index)[0])


def test_a_collapse_made_on_purpose__is_caught_in_training(tmp_path):
    """Random logits of a fresh encoder favor one or two codes, and the KL term keeps it so."""
    with pytest.raises(CollapsedCodebookError, match='the vocabulary has collapsed'):
        collapsing_run(tmp_path, kl_weight=50.0).train()


def test_the_same_run_with_standardized_logits__is_healthy(tmp_path):
    runner = collapsing_run(tmp_path, kl_weight=0.0, logit_scale=3.0)
    runner.train()
    assert runner.iter == 60


def test_no_token_yet__no_judgement():
    """k-means waits for its start, or nothing was masked."""
    steps(guard(grace=0), runner([0] * 16), 5)


def test_patience__goes_on_in_a_resumed_run():
    before, after = guard(patience=3, grace=0), guard(patience=3, grace=0)
    steps(before, runner(COLLAPSED), 2)
    after.load_training_state(before.training_state())  # as before_train is still to come
    with pytest.raises(CollapsedCodebookError):
        steps(after, runner(COLLAPSED), 1)


def test_interval__checks_in_the_last_step_of_each():
    hook, own, seen = guard(interval=3), runner(HEALTHY), []
    own.message_hub = SimpleNamespace(
        update_scalar=lambda name, _: seen.append((name, own.iter + 1))
    )
    steps(hook, own, 10)
    checks = [step for name, step in seen if name == 'train/codebook/dead_codes']
    assert checks == [3, 6, 9]
    assert [step for name, step in seen if name == 'train/perplexity'] == list(range(1, 11))


def targets(own) -> dict:
    names = ('target_codes', 'target_perplexity', 'unigram_entropy', 'gain_over_unigram')
    return {name: own.message_hub.get_scalar(f'train/{name}').current() for name in names}


def masked(window=2):
    """A guard and a masked image model with four codes."""
    return guard(usage_window=window, action='warn', grace=99), runner([0, 0, 0, 3], kind=Model)


def step_of(hook, own, ids, loss):
    own.model.latest_ids = torch.tensor(ids, dtype=torch.long)
    steps(hook, own, 1, **({} if loss is None else dict(loss=torch.tensor(loss))))


def test_targets__losses_are_weighed_by_their_tokens_and_the_window_forgets():
    hook, own = masked()
    step_of(hook, own, [3, 3, 3], 9.0)
    step_of(hook, own, [0, 0, 1], 0.6)
    step_of(hook, own, [1], 0.2)
    entropy = math.log(2)  # two of each; the first step is out of the window
    assert targets(own) == pytest.approx(
        dict(
            target_codes=2,
            target_perplexity=2,
            unigram_entropy=entropy,
            gain_over_unigram=1 - (3 * 0.6 + 0.2) / 4 / entropy,
        )
    )


def test_targets__the_best_prediction_without_the_image_gains_nothing():
    hook, own = masked()
    ids = [0, 0, 0, 1, 2, 2]
    share = torch.bincount(torch.tensor(ids)) / len(ids)
    step_of(hook, own, ids, float(torch.special.entr(share).sum()))
    assert targets(own)['gain_over_unigram'] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize('ids', [[], [2, 2, 2]])
def test_targets__nothing_to_predict_is_no_gain(ids):
    hook, own = masked()
    step_of(hook, own, ids, 0.5)
    assert targets(own)['gain_over_unigram'] == 0 and targets(own)['unigram_entropy'] == 0


@pytest.mark.parametrize('bad', [math.nan, math.inf, None])
def test_targets__a_loss_that_is_not_finite_is_left_out(bad):
    """None: NonFiniteGuardHook has taken it out of the outputs."""
    hook, own = masked()
    step_of(hook, own, [0, 1], bad)
    assert 'train/gain_over_unigram' not in own.message_hub.log_scalars  # nothing is known of it
    step_of(hook, own, [0, 1, 2], 0.3)
    found = targets(own)
    assert found['gain_over_unigram'] == pytest.approx(1 - 0.3 / found['unigram_entropy'])
    assert found['target_codes'] == 3


@pytest.mark.parametrize(
    ('outputs', 'loss'),
    [
        (dict(loss=3.0, cross_entropy=1.0), 1.0),
        (dict(loss=3.0, loss_main=1.0, loss_aggregation=2.0), 1.0),
        (dict(loss=3.0, loss_main=2.0, cross_entropy_main=1.0, loss_aggregation=1.0), 1.0),
        (dict(loss=1.0, acc=50.0), 1.0),
        (dict(loss=1.0, loss_mim=1.0), 1.0),
    ],
)
def test_targets__the_cross_entropy_of_what_is_predicted(outputs, loss):
    hook, own = masked()
    own.model.latest_ids = torch.tensor([0, 1])
    steps(hook, own, 1, **outputs)
    assert targets(own)['gain_over_unigram'] == pytest.approx(1 - loss / math.log(2))


def test_window__goes_on_in_a_resumed_run():
    parts = [(torch.randint(5, (7,)).tolist(), float(torch.rand(()))) for _ in range(9)]
    (calm, own), (before, first), (after, second) = (masked(4) for _ in range(3))
    own.model.vocab_size = first.model.vocab_size = second.model.vocab_size = 5
    for ids, loss in parts[:6]:
        step_of(calm, own, ids, loss)
        step_of(before, first, ids, loss)
    after.load_training_state(before.training_state())
    after.before_train(second)
    second.iter = 6
    for ids, loss in parts[6:]:
        step_of(calm, own, ids, loss)
        step_of(after, second, ids, loss)
        assert targets(own) == targets(second)


def test_tokenizer__its_tokens_in_each_step():
    own = runner([2, 2, 0, 0])
    steps(guard(interval=99), own, 1)
    scalars = {
        name: own.message_hub.get_scalar(f'train/{name}').current()
        for name in ('codes_used', 'perplexity')
    }
    assert scalars == pytest.approx(dict(codes_used=2, perplexity=2))


def test_steps_without_tokens__are_passed_over():
    own = runner(HEALTHY)
    own.model.latest_ids = None
    steps(guard(), own, 5)
    assert not own.message_hub.log_scalars
