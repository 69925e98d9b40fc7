"""Whoever loads: what fits is in the log file, and too little of it is an error with advice."""

import logging
from itertools import count

import pytest
import torch
import torch.nn as nn
from mmengine.logging import MMLogger
from mmengine.model import BaseModel, BaseTTAModel
from mmengine.model import ExponentialMovingAverage as Average
from mmengine.runner import Runner, load_checkpoint

from beit_mm.checkpoints import IncompleteCheckpointError, LoadReport
from beit_mm.contracts import UserError
from beit_mm.contracts.runner_access import unwrap
from beit_mm.engine.hooks import LoadReportHook
from beit_mm.models import BEiTEncoder, DALLETokenizer, DVAETokenizer

SIZES = dict(arch=dict(embed_dims=32, num_layers=3, num_heads=2), img_size=32, patch_size=8)


class Model(BaseModel):
    """As much of a classifier as loading needs."""

    def __init__(self, classes=5, **kwargs):
        super().__init__()
        self.backbone = BEiTEncoder(**{**SIZES, **kwargs})
        self.head = nn.Linear(32, classes)

    def forward(self, inputs, mode='tensor'):
        return self.backbone(inputs)


def saved(state, path):
    torch.save(dict(state_dict=dict(state)), path)
    return str(path)


numbers = count()


def runner(model, work_dir, **kwargs):
    return Runner(
        model=model,
        work_dir=str(work_dir),
        test_dataloader=dict(dataset=[0], sampler=dict(type='DefaultSampler', shuffle=False)),
        test_cfg=dict(),
        test_evaluator=[],
        custom_hooks=[LoadReportHook()],
        default_scope='mmengine',
        experiment_name=f'load-report-{next(numbers)}',  # else its log goes to the first one's file
        **kwargs,
    )


def text_of_log(work_dir):
    (log,) = work_dir.glob('*/*.log')
    return log.read_text()


def test_report__counts_every_tensor_of_both_sides():
    model = Model()
    state = model.state_dict()
    state['backbone.more'] = torch.ones(1)
    del state['head.bias']
    state['head.weight'] = torch.ones(7, 32)
    report = LoadReport.of(model, state)
    assert len(report.matched) + 2 == len(model.state_dict())
    assert report.missing == ['head.bias'] and report.unexpected == ['backbone.more']
    assert report.reshaped == ['head.weight (7, 32) for (5, 32)']
    lines = report.by_module()
    total = len(model.backbone.state_dict())
    assert f'backbone: {total} of {total} tensors matched; unexpected: backbone.more' in lines
    assert 'head: 0 of 2 tensors matched; reshaped: head.weight (7, 32) for (5, 32)' in lines


def test_load_from__report_is_in_the_log_file(tmp_path):
    path = saved(Model(classes=7).state_dict(), tmp_path / 'other-head.pth')
    run = runner(Model(), tmp_path / 'work', load_from=path)
    run.load_or_resume()
    text = text_of_log(tmp_path / 'work')
    total = len(run.model.backbone.state_dict())
    assert f'BEiTEncoder (backbone): {total} of {total} tensors matched' in text
    assert f'backbone: {total} of {total} tensors matched' in text
    assert 'head: 0 of 2 tensors matched; reshaped: head.weight (7, 32) for (5, 32)' in text


@pytest.mark.parametrize('size', [(32, 16), (64, 48)])
@pytest.mark.parametrize('rel_pos', ['shared', 'per_layer'])
def test_load_from__positions_are_resized_from_the_size_that_the_checkpoint_says(
    tmp_path, size, rel_pos
):
    """As init_cfg with pretrained_img_size; (16, 32) and (32, 16) have tables of one length."""
    source = Model(img_size=(16, 32), abs_pos=True)
    for name, tensor in source.named_parameters():
        if name.endswith(('table', 'pos_embed')):
            nn.init.normal_(tensor)
    path = str(tmp_path / 'source.pth')
    says = dict(format=1, backbone=dict(img_size=[16, 32], patch_size=8))
    torch.save(dict(state_dict=source.state_dict(), meta=dict(beit_mm=says)), path)
    options = dict(img_size=size, abs_pos=True, rel_pos=rel_pos)
    run = runner(Model(**options), tmp_path / 'work', load_from=path)
    run.load_or_resume()
    reference = BEiTEncoder(
        **{**SIZES, **options},
        pretrained_img_size=(16, 32),
        init_cfg=dict(type='Pretrained', checkpoint=path, prefix='backbone.'),
    )
    reference.init_weights()
    loaded = run.model.backbone.state_dict()
    assert loaded.keys() == reference.state_dict().keys()
    assert all(torch.equal(loaded[n], t) for n, t in reference.state_dict().items())
    assert run.model.backbone.pretrained_grid is None


def test_load_from__nothing_that_fits_is_an_error(tmp_path):
    path = saved({'net.weight': torch.ones(3)}, tmp_path / 'zero.pth')
    with pytest.raises(IncompleteCheckpointError, match="start with \\['net'\\]"):
        runner(Model(), tmp_path / 'work', load_from=path).load_or_resume()


def test_load_from__an_evaluation_needs_every_trained_part(tmp_path):
    model = Model()
    model.auxiliary_head = nn.Linear(2, 2)
    whole = {n: t for n, t in model.state_dict().items() if not n.startswith('auxiliary')}
    no_head = {n: t for n, t in whole.items() if not n.startswith('head.')}
    other_head = {**whole, 'head.weight': torch.ones(7, 32)}
    for name, state in dict(whole=whole, no_head=no_head, other_head=other_head).items():
        path = saved(state, tmp_path / f'{name}.pth')
        run = runner(model, tmp_path / name, load_from=path)
        (hook,) = (hook for hook in run.hooks if isinstance(hook, LoadReportHook))
        hook.complete = True
        if name == 'whole':
            run.load_or_resume()
        else:
            with pytest.raises(IncompleteCheckpointError, match='would be untrained: head'):
                run.load_or_resume()


def test_load_from__little_of_a_backbone_of_another_library_is_an_error(tmp_path):
    def model():
        model = Model()
        model.backbone = nn.Sequential(*[nn.Linear(2, 2) for _ in range(4)])
        return model

    state = model().state_dict()
    half = {n: t for n, t in state.items() if not n.startswith(('backbone.0', 'backbone.1'))}
    run = runner(model(), tmp_path / 'half', load_from=saved(half, tmp_path / 'half.pth'))
    run.load_or_resume()
    assert 'backbone: 4 of 8 tensors matched; missing: backbone.0.weight' in text_of_log(
        tmp_path / 'half'
    )
    half.pop('backbone.2.weight')
    with pytest.raises(IncompleteCheckpointError, match='3 of 8 tensors of the backbone'):
        path = saved(half, tmp_path / 'less.pth')
        runner(model(), tmp_path / 'less', load_from=path).load_or_resume()


@pytest.mark.parametrize('loader', ['load_checkpoint', 'init_cfg', 'load_state_dict'])
@pytest.mark.parametrize('kept', [0, 2, -1])
def test_backbone__part_of_it_is_an_error_for_every_loader(tmp_path, loader, kept):
    state = Model().state_dict()
    names = [name for name in state if name.startswith('backbone.blocks.')]
    kept = names[:kept] if kept >= 0 else names[1:] + [n for n in state if n not in names]
    part = {name: state[name] for name in kept} or {'x.y': torch.ones(1)}
    path = saved(part, tmp_path / 'part.pth')
    with pytest.raises(UserError, match='tensors|backbone'):
        if loader == 'load_checkpoint':
            load_checkpoint(Model(), path)
        elif loader == 'load_state_dict':
            Model().load_state_dict(part, strict=False)
        else:
            init_cfg = dict(type='Pretrained', checkpoint=path, prefix='backbone.')
            BEiTEncoder(init_cfg=init_cfg, **SIZES).init_weights()


def test_backbone__forgotten_prefix_is_named(tmp_path):
    path = saved(Model().state_dict(), tmp_path / 'model.pth')
    init_cfg = dict(type='Pretrained', checkpoint=path)
    with pytest.raises(IncompleteCheckpointError, match="set prefix='backbone.'"):
        BEiTEncoder(init_cfg=init_cfg, **SIZES).init_weights()
    init_cfg['prefix'] = 'backbone.'
    BEiTEncoder(init_cfg=init_cfg, **SIZES).init_weights()


@pytest.mark.parametrize('other', [dict(embed_dims=64), dict(num_layers=4), dict(mlp_ratio=2)])
def test_backbone__of_another_size_is_an_error(tmp_path, other):
    path = saved(Model().state_dict(), tmp_path / 'model.pth')
    with pytest.raises(IncompleteCheckpointError, match='arch'):
        load_checkpoint(Model(arch={**SIZES['arch'], **other}), path)


@pytest.mark.parametrize(
    ('source', 'target', 'left'),
    [
        (dict(rel_pos='shared'), dict(rel_pos=None), 'bias_table'),
        (dict(rel_pos='per_layer'), dict(rel_pos='shared'), 'bias_table'),
        (dict(abs_pos=True), dict(), 'pos_embed'),
        (dict(), dict(layer_scale_init=None), 'gamma_1'),
        (dict(), dict(qkv_bias=False), 'q_bias'),
    ],
)
def test_backbone__nothing_that_changes_its_features_is_dropped(source, target, left):
    state = BEiTEncoder(**{**SIZES, **source}).state_dict()
    with pytest.raises(IncompleteCheckpointError, match=left):
        BEiTEncoder(**{**SIZES, **target}).load_state_dict(state, strict=False)


def test_backbone__table_of_other_heads_or_of_some_layers_is_an_error():
    state = BEiTEncoder(rel_pos='per_layer', **SIZES).state_dict()
    heads = {n: t[:, :1] if n.endswith('table') else t for n, t in state.items()}
    layers = {n: t for n, t in state.items() if n != 'blocks.1.attn.relative_position_bias_table'}
    for wrong in (heads, layers):
        with pytest.raises(IncompleteCheckpointError, match='bias_table'):
            BEiTEncoder(rel_pos='per_layer', **SIZES).load_state_dict(wrong, strict=False)


def test_backbone__positions_that_the_checkpoint_lacks_change_no_feature():
    plain = BEiTEncoder(rel_pos=None, **SIZES).eval()
    positions = BEiTEncoder(rel_pos='per_layer', abs_pos=True, **SIZES).eval()
    nn.init.ones_(positions.blocks[1].attn.relative_position_bias_table)
    positions.load_state_dict(plain.state_dict())
    x = torch.randn(1, 3, 32, 32)
    assert torch.allclose(positions(x)[0], plain(x)[0], atol=1e-6)


def test_backbone__what_a_fine_tuned_checkpoint_lacks_is_no_error():
    fine_tuned = BEiTEncoder(rel_pos='per_layer', **SIZES).state_dict()
    del fine_tuned['mask_token']
    target = BEiTEncoder(rel_pos='per_layer', final_norm=True, **SIZES)
    keys = target.load_state_dict(fine_tuned, strict=False)
    assert set(keys.missing_keys) == {'mask_token', 'norm.weight', 'norm.bias'}


def test_tokenizer__encoder_alone_but_not_a_part_of_it(tmp_path):
    small = dict(vocab_size=16, width=8, num_blocks=1, code_dim=4)
    state = DALLETokenizer(**small).state_dict()
    encoder = {name: tensor for name, tensor in state.items() if name.startswith('encoder.')}
    load_checkpoint(DALLETokenizer(**small), saved(encoder, tmp_path / 'encoder.pth'))
    encoder.popitem()
    for part in (encoder, dict([encoder.popitem()])):
        with pytest.raises(IncompleteCheckpointError, match='DALLETokenizer'):
            load_checkpoint(DALLETokenizer(**small), saved(part, tmp_path / 'part.pth'))
    with pytest.raises(IncompleteCheckpointError, match='stay untrained'):
        load_checkpoint(DVAETokenizer(16, width=8), saved(dict(x=torch.ones(1)), tmp_path / 'x'))


def test_tokenizer__absent_beside_a_backbone_keeps_its_own_weights(tmp_path):
    class Pair(Model):
        def __init__(self):
            super().__init__()
            self.tokenizer = DALLETokenizer(vocab_size=16, width=8, num_blocks=1, code_dim=4)

    pair = Pair()
    before = {name: tensor.clone() for name, tensor in pair.tokenizer.state_dict().items()}
    load_checkpoint(pair, saved(Model().state_dict(), tmp_path / 'model.pth'))
    for name, tensor in pair.tokenizer.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_report__level_says_whether_something_is_missing(tmp_path):
    logger = MMLogger.get_instance('levels', log_file=str(tmp_path / 'log.txt'), log_level='INFO')
    records = []
    logger.addFilter(lambda record: records.append(record) or True)
    state = BEiTEncoder(**SIZES).state_dict()
    BEiTEncoder(**SIZES).load_state_dict(state)
    del state['mask_token']
    BEiTEncoder(**SIZES).load_state_dict(state, strict=False)
    assert [record.levelno for record in records] == [logging.INFO, logging.WARNING]
    assert 'mask_token' in records[1].getMessage()


class Flips(BaseTTAModel):
    def merge_preds(self, data_samples_list):
        return data_samples_list


@pytest.mark.parametrize('wrap', [Flips, Average, lambda model: Average(Flips(model))])
@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_load_from__looks_inside_models_that_wrap_another(tmp_path, wrap, prefix):
    source = Model()
    state = {f'{prefix}{name}': tensor for name, tensor in source.state_dict().items()}
    path = saved(state, tmp_path / 'whole.pth')
    wrapped = wrap(Model())
    run = runner(wrapped, tmp_path / 'work', load_from=path)
    run.load_or_resume()
    for name, tensor in unwrap(wrapped).state_dict().items():
        assert torch.equal(tensor, source.state_dict()[name]), name
    total = len(source.backbone.state_dict())
    assert f'backbone: {total} of {total} tensors matched' in text_of_log(tmp_path / 'work')

    half = {n: t for n, t in state.items() if 'blocks' not in n}
    other = runner(wrapped, tmp_path / 'half', load_from=saved(half, tmp_path / 'half.pth'))
    with pytest.raises(IncompleteCheckpointError, match='of the backbone|BEiTEncoder'):
        other.load_or_resume()
