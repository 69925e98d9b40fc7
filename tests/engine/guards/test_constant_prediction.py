import pytest
import torch
from small_runs import small_run, told, train

from beit_mm.engine import PredictionGuardHook, UnhealthyTrainingError
from beit_mm.engine.guards.constant_prediction import ConstantPrediction
from beit_mm.engine.guards.unigram_loss import UnigramLoss
from beit_mm.engine.guards.watched_head import LossHead, Seen

GUARD = dict(type='beit_mm.PredictionGuardHook', interval=20, grace=10)
BLIND = dict(type='PointClassifier', broken='blind')


@pytest.fixture(autouse=True)
def no_unigram(monkeypatch):
    """A loss at the unigram entropy has its own tests."""
    monkeypatch.setattr(UnigramLoss, 'judge', lambda *args: None)


def test_blind_head__is_told_with_names_and_shares(tmp_path):
    """Looks in steps 12, 14, ... find ten by step 30, so the first check is that of step 40."""
    slow = dict(optimizer=dict(type='SGD', lr=1e-4))  # else its bias follows the last batches
    (message,) = told(train(tmp_path, GUARD, model=BLIND, optim_wrapper=slow))
    assert 'Step 40: model.head answers class' in message
    assert 'for 100.00% of 120 images, while the most frequent target' in message
    assert any(f'({name})' in message for name in ('ant', 'bee', 'cow', 'dog'))
    assert 'normalization of data_preprocessor' in message


def test_blind_head__whose_answer_changes_from_step_to_step(tmp_path):
    (message,) = told(train(tmp_path, GUARD, model=BLIND))
    assert 'answers one class for 100.00% of the images of a step, another one' in message
    # a batch of one has one class anyway
    one = dict(steps=200, batch_size=1, data=dict(size=61))
    assert told(train(tmp_path / 'one', GUARD, **one)) == []


def test_healthy__nothing_to_tell(tmp_path):
    for interval in (1, 20):
        run = train(tmp_path / str(interval), dict(GUARD, interval=interval))
        assert told(run) == []


def test_constant_targets__are_said_to_be_the_cause(tmp_path):
    (message,) = told(train(tmp_path, GUARD, data=dict(labels='one')))
    assert '100.00% of the targets of model.head are class 2 (cow)' in message
    assert 'sorted by class without shuffle=True' in message


def test_grace__and_the_warm_up_before_it(tmp_path):
    """A tenth of the run after it, by default."""
    schedule = [dict(type='LinearLR', start_factor=1e-3, by_epoch=False, end=40)]
    guard = dict(type='beit_mm.PredictionGuardHook', interval=10)
    run = train(tmp_path, guard, steps=100, model=BLIND, param_scheduler=schedule)
    (message,) = told(run)
    assert 'Step 60: ' in message  # looks at 51, 52, ..., 60
    epochs = [dict(type='LinearLR', start_factor=1e-3, by_epoch=True, end=5)]  # of 8 iterations
    loop = dict(type='beit_mm.ResumableEpochLoop', max_epochs=12)
    run = train(tmp_path / 'e', guard, model=BLIND, param_scheduler=epochs, train_cfg=loop)
    (message,) = told(run)
    assert 'Step 60: ' in message  # 40 + 9, then ten looks


def test_model__is_left_as_it_was(tmp_path):
    run = train(tmp_path, GUARD)
    assert not run.model.head.loss_module._forward_hooks
    other = train(tmp_path / 'without')
    pairs = zip(run.model.parameters(), other.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_other_steps__have_no_hook(tmp_path):
    """Nothing is read in nine of ten steps."""
    run = small_run(tmp_path, dict(GUARD, interval=100, grace=0), steps=100)
    hooked, forward = [], run.model.forward

    def noted(*args, **kwargs):
        if run.model.head.loss_module._forward_hooks:
            hooked.append(run.iter + 1)
        return forward(*args, **kwargs)

    run.model.forward = noted
    run.train()
    assert hooked == list(range(10, 101, 10))


def judged(predicted, targets, others=0.01):
    counts = torch.tensor([predicted, targets])
    seen = Seen(*counts, 0.5 * counts.sum(1), torch.zeros(2), torch.zeros(2, 2))
    head = LossHead('model.head', 'pixels', torch.nn.Identity())
    return ConstantPrediction(others).judge(head, seen)


def test_rule__others_have_almost_nothing_and_much_less_than_in_the_targets():
    assert judged([995.0, 5.0], [500.0, 500.0])
    assert not judged([985.0, 15.0], [500.0, 500.0])
    assert judged([985.0, 15.0], [500.0, 500.0], others=0.02)
    # 95% background: 1% of others are a fifth of what there is, 0.4% less than a tenth
    assert not judged([990.0, 10.0], [950.0, 50.0])
    assert judged([996.0, 4.0], [950.0, 50.0])
    assert not judged([15.0, 0.0], [8.0, 7.0])  # too few to tell


def test_stop(tmp_path):
    with pytest.raises(UnhealthyTrainingError, match='Step 40: model.head answers'):
        train(tmp_path, dict(GUARD, action='stop'), model=BLIND)


@pytest.mark.parametrize(
    'wrong', [dict(others=0.0), dict(others=1.0), dict(grace=-1), dict(min_gap=1.0)]
)
def test_arguments__named_in_errors(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f'PredictionGuardHook.{name}={value}'):
        PredictionGuardHook(**wrong)
