"""Public reports on data, configs, training and resume: each situation made anew."""

import logging
import shutil
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import tifffile
import torch
from mmengine.dataset import BaseDataset
from mmengine.runner import Runner
from public_reports import error, refused, report, right, warning
from same_training import train
from tiny_training import TinyDataset, TinyModel, tiny_config

from beit_mm.checkpoints import IncompleteCheckpointError
from beit_mm.checkpoints.store import NoUsableCheckpointError
from beit_mm.cli.config_loading import load_config
from beit_mm.cli.train import count_accumulated
from beit_mm.contracts import UserError
from beit_mm.datasets import LabelledImageFolder, SkipBadSamples
from beit_mm.datasets.transforms import LoadMultiBandImage, LoadSegmentationMask
from beit_mm.engine import DatasetCheckHook
from beit_mm.engine.guards import NonFiniteError
from beit_mm.preflight.config import check_config
from beit_mm.preflight.config.labels import check_labels
from beit_mm.preflight.files import Loader, MaskRules, Sample, check_sample
from beit_mm.preflight.run.class_order import check_class_order

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
SEGMENT = CONFIGS / 'segmentation/beit-micro-p8_beit_setr-pup_digit-scenes-500.py'
ADE = CONFIGS / 'segmentation/beit-base-p16_beit-300e_upernet_8xb2-amp-160k_ade20k-512x512.py'
MICRO = CONFIGS / 'pretrain/beit_beit-micro-p8_digit-scenes.py'
CHECK = dict(type='beit_mm.DatasetCheckHook')
PIXELS = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


def labels(path, options) -> dict[str, str]:
    return {f.place: f'{f.level}: {f.message}' for f in check_labels(load_config(path, options))}


def log_of(runner) -> str:
    return next(Path(runner.log_dir).glob('*.log')).read_text()


def line_of(runner, words: str) -> str:
    """Return what the log says after ``WARNING - `` in the line with ``words``."""
    (line,) = [line for line in log_of(runner).splitlines() if words in line][:1]
    return line.partition('WARNING - ')[2]


# ---- Data ----


@report('open-mmlab/mmdetection#4572', 'Images of 16 bits become 8 bits')
def test_sixteen_bits(tmp_path):
    values = np.random.default_rng(0).integers(0, 65536, (6, 5), np.uint16)
    cv2.imwrite(str(tmp_path / 'a.png'), values)
    image = LoadMultiBandImage().transform(dict(img_path=str(tmp_path / 'a.png')))['img']
    assert image.dtype == np.uint16 and np.array_equal(image[..., 0], values)
    (found,), _ = check_sample(Sample(str(tmp_path / 'a.png')), Loader(), MaskRules())
    return warning(f'by LoadImageFromFile: {found.message}')


@report('open-mmlab/mmsegmentation#810', 'A GeoTIFF of 12 bands')
def test_twelve_bands(tmp_path):
    bands = np.random.default_rng(0).integers(0, 9000, (6, 5, 12), np.uint16)
    tifffile.imwrite(tmp_path / 'a.tif', bands, photometric='minisblack', planarconfig='contig')
    image = LoadMultiBandImage(channels=12).transform(dict(img_path=str(tmp_path / 'a.tif')))
    assert np.array_equal(image['img'], bands)
    return right('all bands and bits, in the order of the file')


@report('open-mmlab/mmcv#2239', 'A truncated image is read as None')
def test_truncated_image(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), PIXELS)
    path = tmp_path / 'b.png'
    path.write_bytes((tmp_path / 'a.png').read_bytes()[:-200])
    with pytest.raises(UserError, match='b.png') as caught:
        LoadMultiBandImage().transform(dict(img_path=str(path)))

    class Two(BaseDataset):
        def load_data_list(self):
            return [dict(img_path=str(tmp_path / name)) for name in ('a.png', 'b.png')]

    data = Two(pipeline=[dict(type='beit_mm.LoadMultiBandImage')], serialize_data=False)
    skipping = SkipBadSamples(data, max_count=1, max_share=1.0)
    assert np.array_equal(skipping[1]['img'], skipping[0]['img'])
    return error(caught)


@report('open-mmlab/mmsegmentation#1652', 'Masks that are pictures in colors')
def test_masks_in_colors(tmp_path):
    cv2.imwrite(str(tmp_path / 'm.png'), PIXELS)
    results = dict(seg_map_path=str(tmp_path / 'm.png'), reduce_zero_label=False, seg_fields=[])
    with pytest.raises(UserError, match='m.png') as caught:
        LoadSegmentationMask().transform(dict(results, label_map=None))
    return error(caught)


@report('open-mmlab/mmsegmentation#1714', 'reduce_zero_label drops a background that is a class')
def test_reduced_background():
    key = 'train_dataloader.dataset.reduce_zero_label'
    told = labels(SEGMENT, {key: True})[key]
    assert told.startswith("warning: True drops value 0, but class 0 is 'background'")
    return warning(f'{key}: {told[9:]}')


@report('open-mmlab/mmsegmentation#304', 'One class: the loss is 0 from the first step on')
def test_one_class():
    key = 'model.decode_head.loss_decode'
    told = labels(ADE, {'model.decode_head.num_classes': 1})[key]
    assert told.startswith('warning: a softmax over')
    return warning(f'{key}: {told[9:]}')


@report('open-mmlab/mmsegmentation#272', 'BatchNorm gets one value a channel from a batch of one')
def test_batch_of_one():
    key = 'train_dataloader.batch_size'
    told = labels(ADE, {key: 1})[key]
    assert told.startswith('error: 1, but')
    return refused(f'{key}: {told[7:]}')


def class_folders(root, names) -> LabelledImageFolder:
    for name in names:
        (root / name).mkdir(parents=True)
        for number in range(2):
            cv2.imwrite(str(root / name / f'{number}.png'), PIXELS)
    return LabelledImageFolder(str(root))


@report('ultralytics/ultralytics#13936', 'A class without images in validation shifts the others')
def test_class_that_validation_lacks(tmp_path):
    sets = dict(
        train_dataloader=class_folders(tmp_path / 'train', ['0', '180', '270', '90']),
        val_dataloader=class_folders(tmp_path / 'val', ['0', '270', '90']),
    )
    (found,) = check_class_order(sets)
    assert found.level == 'error' and "'270'" in found.message
    return refused(f'{found.place} {found.message}')


@report('open-mmlab/mmpretrain#819', 'More or fewer folders of classes than the model has classes')
def test_number_of_folders(tmp_path):
    model = torch.nn.Module()
    model.head = torch.nn.Module()
    model.head.num_classes = 2
    runner = SimpleNamespace(model=model, logger=logging.getLogger('reports'))
    data = class_folders(tmp_path, ['ant', 'bee', 'cow'])
    with pytest.raises(UserError, match='num_classes') as caught:
        DatasetCheckHook()._check(runner, data, 'train_dataloader')
    return error(caught)


@report('pytorch/pytorch#5059', 'NumPy draws the same numbers in every worker')
def test_workers_draw_numbers_of_their_own(tmp_path):
    runner = train(tiny_config(tmp_path, steps=6, workers=2))
    noise = torch.cat(runner.model.noise)
    assert len(noise.unique()) == noise.numel()
    return right('each sample is seeded; no augmentation comes twice')


# ---- Configs ----


def child(tmp_path, text: str, base=MICRO):
    path = tmp_path / 'child.py'
    path.write_text(f"_base_ = '{base}'\n{text}")
    return {f.place: f for f in check_config(load_config(path))}


@report('open-mmlab/mmcv#494', "A list in a child replaces the base's list")
def test_list_of_a_child(tmp_path):
    hooks = "custom_hooks = [dict(type='EMAHook')]\n"
    found = child(tmp_path, hooks, CONFIGS / '_base_/models/dvae_light-v256.py')['custom_hooks']
    assert found.level == 'warning' and 'AttributeScheduleHook' in found.message
    return warning(f'{found.place}: {found.message}')


@report('open-mmlab/mmdetection#6128', 'A child gives a dict where its base has another value')
def test_dict_over_none(tmp_path):
    base = tmp_path / 'base.py'
    base.write_text('optim_wrapper = dict(clip_grad=[3.0])\n')
    with pytest.raises(UserError, match='clip_grad') as caught:
        child(tmp_path, 'optim_wrapper = dict(clip_grad=dict(max_norm=3.0))\n', base)
    return error(caught)


@report('open-mmlab/mmengine#894', 'The learning rate does not follow accumulative_counts')
def test_accumulation_and_learning_rate(tmp_path):
    optim = dict(optimizer=dict(type='SGD', lr=0.1), accumulative_counts=4)
    scale = dict(enable=True, base_batch_size=16)
    runner = Runner.from_cfg(tiny_config(tmp_path, optim_wrapper=optim, auto_scale_lr=scale))
    count_accumulated(runner)
    wrapper = runner.build_optim_wrapper(optim)
    runner.scale_lr(wrapper, runner.auto_scale_lr)
    assert wrapper.optimizer.param_groups[0]['lr'] == pytest.approx(0.1)  # 4 images, 4 times
    return right('auto_scale_lr counts accumulated batches: 4 of 4 images are 16')


@report('open-mmlab/mmocr#1990', 'save_best names a metric that the first validation lacks')
def test_save_best_of_no_metric(tmp_path):
    config = tiny_config(tmp_path, custom_hooks=[CHECK])
    config['default_hooks']['checkpoint'].update(save_best=['acc', 'score'], rule='greater')
    config['val_evaluator'] = dict(type='Accuracy', _scope_='mmpretrain')
    with pytest.raises(UserError, match='is no metric') as caught:
        train(config)
    return error(caught)


# ---- Training ----


@report('open-mmlab/mmengine#945', 'Fewer samples than a batch: nothing is trained')
def test_no_batch(tmp_path):
    config = tiny_config(tmp_path, 'Epoch', 1, custom_hooks=[CHECK])
    config['train_dataloader'].update(
        batch_size=64, drop_last=True, sampler=dict(type='DefaultSampler', shuffle=True)
    )
    config['train_cfg'] = dict(type='EpochBasedTrainLoop', max_epochs=1)
    with pytest.raises(UserError, match='gives no batch at all') as caught:
        train(config)
    return error(caught)


@report('open-mmlab/mmpretrain#1632', 'The loss is NaN, and the training goes on for days')
def test_loss_that_stays_nan(tmp_path):
    config = tiny_config(tmp_path, steps=200, val_dataloader=None, val_cfg=None, val_evaluator=None)
    config['model'] = dict(type='TinyModel', poison=range(22))
    with pytest.raises(NonFiniteError) as caught:
        train(config)
    return error(caught)


@report('microsoft/unilm#598', 'Mean of the norm of gradients is NaN in half precision')
def test_norm_of_gradients_in_half_precision(tmp_path):
    half = dict(type='beit_mm.AutocastOptimWrapper', dtype='float16', init_scale=2.0**20)
    half.update(optimizer=dict(type='AdamW', lr=0.01), clip_grad=dict(max_norm=1.0))
    runner = train(tiny_config(tmp_path, steps=30, optim_wrapper=half))
    norms = torch.tensor(runner.message_hub.get_scalar('train/grad_norm').data[0])
    assert runner.optim_wrapper.loss_scaler.get_scale() < 2.0**20
    assert norms.isfinite().all() and 10 < len(norms) < 30
    return right('a step whose gradients overflow lowers the scale, and is in no mean')


# ---- Resume ----


@pytest.fixture(scope='module')
def six(tmp_path_factory):
    """A run that was killed before its eighth step, with a checkpoint of the sixth."""
    folder = tmp_path_factory.mktemp('six')
    train(tiny_config(folder), kill_before=7)
    return folder


@pytest.fixture
def again(six, tmp_path):
    """Return a function that resumes a copy of the run, with some changes."""
    shutil.copytree(six, tmp_path / 'run')

    def resume(**changes):
        return train(tiny_config(tmp_path / 'run', **changes), resume=True)

    return resume


@report('open-mmlab/mmengine#1471', 'A resumed loop of iterations begins with the first sample')
def test_resume_at_the_next_sample(tmp_path, again):
    calm = train(tiny_config(tmp_path / 'calm')).model.seen
    assert again().model.seen == calm[6:]
    return right('it goes on with the sample after the last one')


@report('open-mmlab/mmengine#1520', 'A resume reads all samples that were seen')
def test_resume_reads_what_is_left(again, monkeypatch):
    read, prepare = [], TinyDataset.prepare_data
    monkeypatch.setattr(
        TinyDataset, 'prepare_data', lambda self, idx: read.append(idx) or prepare(self, idx)
    )
    again(val_dataloader=None, val_cfg=None, val_evaluator=None)
    assert len(read) == 6 * 4
    return right('it reads those that are left')


@report('open-mmlab/mmengine#1542', 'After a resume, the learning rate is that of the warm-up')
def test_resume_learning_rate(tmp_path, again):
    rates = [
        runner.message_hub.get_scalar('train/lr').data[0].tolist()
        for runner in (train(tiny_config(tmp_path / 'calm')), again())
    ]
    assert rates[1] == rates[0]
    return right('bit by bit that of a run that was not cut off')


@report('open-mmlab/mmengine#1565', 'A schedule that was changed in the config has no effect')
def test_resume_with_another_schedule(again):
    schedule = tiny_config('')['param_scheduler']
    runner = again(param_scheduler=[schedule[0], dict(schedule[1], end=90)])
    return warning(line_of(runner, 'settings of the checkpoint'))


@report('open-mmlab/mmengine#607', 'EMA: tensors of an earlier version end the resume')
def test_resume_of_averages_with_more_tensors(six, tmp_path, again):
    path = tmp_path / 'run/iter_6.pth'
    state = torch.load(path, weights_only=True)
    for name in ('mean', 'std'):
        for place, key in (('state_dict', ''), ('ema_state_dict', 'module.')):
            state[place][f'{key}data_preprocessor.{name}'] = torch.ones(3, 1, 1)
    torch.save(state, path)
    runner = again()
    assert runner.iter == 12
    return right('the run goes on')


@report('ray-project/ray#28082', 'A run that was moved cannot be resumed: absolute paths')
def test_resume_of_a_run_that_was_moved(six, tmp_path):
    shutil.copytree(six, tmp_path / 'first')
    (tmp_path / 'first').rename(tmp_path / 'second')
    assert train(tiny_config(tmp_path / 'second'), resume=True).iter == 12
    assert not (tmp_path / 'first').exists()
    return right('the checkpoint is looked for beside the file that names it')


@report('microsoft/unilm#607', 'Fine-tuning resumes the pre-training that lies in its folder')
def test_resume_of_another_model(again):
    class Other(TinyModel):
        def __init__(self):
            super().__init__()
            self.head = torch.nn.Sequential(torch.nn.Linear(8, 3), torch.nn.Linear(3, 1))

    with pytest.raises(NoUsableCheckpointError) as caught:
        again(model=dict(type=Other))
    return error(caught)


@report('microsoft/unilm#1230', 'A test with a checkpoint that was only pre-trained')
def test_evaluation_without_a_head(six, tmp_path):
    state = torch.load(six / 'iter_6.pth', weights_only=True)['state_dict']
    body = {name: tensor for name, tensor in state.items() if not name.startswith('head')}
    torch.save(dict(state_dict=body), tmp_path / 'body.pth')
    config = tiny_config(tmp_path / 'run', load_from=str(tmp_path / 'body.pth'))
    config.update(test_dataloader=config['val_dataloader'], test_cfg=dict())
    config.update(test_evaluator=config['val_evaluator'])
    config['custom_hooks'] = [dict(type='beit_mm.LoadReportHook', complete=True)]
    with pytest.raises(IncompleteCheckpointError) as caught:
        Runner.from_cfg(config).test()
    return error(caught)


@report('open-mmlab/mmengine#1587', 'With save_best set, a validation alone fails')
def test_validation_alone_with_save_best(tmp_path):
    config = tiny_config(tmp_path)
    config['default_hooks']['checkpoint'].update(save_best=['score'], rule='greater')
    assert Runner.from_cfg(config).val() is not None
    return right('the metrics are returned')
