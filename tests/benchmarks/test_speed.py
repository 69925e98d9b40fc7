"""What the benchmarks of speed count and compare; their times are not looked at."""

import argparse

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from beit_mm.models.backbones import BEiTEncoder
from beit_mm.models.heads import VisualTokenHead
from beit_mm.models.necks import MaskedPatchNeck
from beit_mm.models.tokenizers import DVAETokenizer
from benchmarks import cost, runner_step, tokenizer_speed

pytestmark = pytest.mark.slow


@pytest.mark.parametrize('step', [cost.Step(2, 64, 32, 'micro'), cost.Step(1, 96, 512, 'micro')])
def test_theory__is_what_a_forward_multiplies(step):
    backbone = BEiTEncoder(step.arch, img_size=step.image)
    neck, head = MaskedPatchNeck(128), VisualTokenHead(step.vocab, 128)
    side = step.image // 16
    mask = torch.zeros(step.batch, side * side, dtype=torch.bool)
    mask[:, : step.masked] = True
    mask = mask.view(-1, side, side)
    with FlopCounterMode(display=False) as counter:
        x = torch.zeros(step.batch, 3, step.image, step.image)
        head.predict(neck(backbone(x, mask), mask))
    assert counter.get_total_flops() == pytest.approx(2 * step.multiplications, rel=1e-6)


def test_cost__a_row_for_each_step():
    steps = [cost.Step(1, 32, vocab, 'micro') for vocab in (8, 16)]
    rows = [cost.measure(step, 1) for step in steps]
    assert rows[0]['saved'] <= rows[1]['saved']
    lines = cost.table('vocabulary', steps, rows).splitlines()
    assert lines[2].startswith('| 8 |') and '| 1.00 | 1.00 |' in lines[2] and len(lines) == 4


def test_tokenizer_speed__changed_ids_are_counted():
    torch.manual_seed(0)
    tokenizer = DVAETokenizer(vocab_size=4096, stride=4, width=16, code_dim=8).eval()
    found = tokenizer_speed.measure(tokenizer, [torch.rand(8, 3, 16, 16)], 1)
    assert [*found] == [*tokenizer_speed.WAYS]
    assert found['float32']['changed'] == found['float32, channels last']['changed'] == 0
    assert found['bfloat16']['changed'] > 0 and found['bfloat16']['ids'] == 128


@pytest.mark.parametrize('tokenizer', [None, 'dalle'])
def test_runner_step__both_train(tmp_path, monkeypatch, tokenizer):
    tiny = runner_step.QUICK._replace(dims=32, layers=2, heads=2)
    monkeypatch.setattr(runner_step, 'QUICK', tiny)
    args = dict(quick=True, tokenizer=tokenizer, compile=False, batch=1, rounds=2)
    found = runner_step.measure(argparse.Namespace(**args))
    assert {*found} == {'runner', 'mmpretrain', 'hooks'}
    assert 0 < found['hooks'] < found['runner'] and found['mmpretrain'] > 0
