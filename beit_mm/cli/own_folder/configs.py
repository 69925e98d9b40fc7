"""The configs of a chain: shipped ones, fitted to images, labels and a plan."""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mmengine.config import Config, ConfigDict

from beit_mm.checkpoints.store import write_atomically
from beit_mm.cli.config_loading import load_config
from beit_mm.cli.own_folder.config_file import write_config
from beit_mm.cli.own_folder.plan import Plan
from beit_mm.cli.own_folder.survey import EXTENSIONS, Survey
from beit_mm.contracts.config_sizes import set_sizes
from beit_mm.contracts.config_walk import DATALOADERS
from beit_mm.named_configs import PACKAGE

LEAVES = dict(
    micro=dict(
        tokenizer='tokenizer/dvae_light-v256_folder-64.py',
        pretrain='pretrain/beit_beit-micro-p8_folder-64.py',
        cls='classification/beit-micro-p8_beit_ft_folder-64.py',
        seg='segmentation/beit-micro-p8_beit_setr-naive_folder-64.py',
    ),
    small=dict(
        tokenizer='tokenizer/dvae_light-v1024_folder-val.py',
        pretrain='pretrain/beit_beit-small-p16_folder-val.py',
        cls='classification/beit-small-p16_beit_ft_folder.py',
        seg='segmentation/beit-small-p16_beit_setr-naive_folder.py',
    ),
)
ABOUT = dict(
    tokenizer='The visual tokenizer.',
    pretrain='The pre-training: the encoder learns to predict the tokens of masked patches.',
    cls_beit='Classification with the pre-trained encoder.',
    cls_scratch='The same classification from random weights, to compare with.',
    seg_beit='Segmentation with the pre-trained encoder.',
    seg_scratch='The same segmentation from random weights, to compare with.',
)
MARGIN = 0.1  # of a range
LIKE = 8  # parts of a tokenizer's values that other images have at least to be of its kind
SPLITS = {'train', 'training', 'val', 'valid', 'validation', 'test', 'testing'}
PARTS = dict(train='training', val='validation')


@dataclass
class Labels:
    """What is known of some images.

    Attributes:
        dataset: Arguments of LabelledImageFolder or SegmentationFolder.
        classes: Their names.
        count: Labelled images.
        images: Of each class; of masks, those that have it.
        weights: Of the classes in the loss; None weighs them alike.
        parts: Names of the images for 'train' and 'val', where the data set cannot divide them.
        missing: Classes that no image of a part has, by its name.
    """

    dataset: dict
    classes: list[str]
    count: int
    images: Counter
    weights: list[float] | None = None
    parts: dict[str, list[str]] = field(default_factory=dict)
    missing: dict[str, list[str]] = field(default_factory=dict)

    def table(self) -> list[tuple[str, str]]:
        """Return names and values for a terminal."""
        found = [f'{name} ({self.images[n]})' for n, name in enumerate(self.classes)]
        shown = ', '.join(found[:20]) + ', ...' * (len(found) > 20)
        parts = [f'{len(names)} for {PARTS[part]}' for part, names in self.parts.items()]
        rows = [
            ('images', ', '.join([str(self.count), *parts])),
            ('classes', f'{len(found)}: {shown}'),
        ]
        if SPLITS.issuperset(map(str.lower, self.classes)):
            told = 'these are names of parts of a data set; give --labels the folder of one'
            rows.append(('warning', told))
        seen = sum(count > 0 for count in self.images.values())
        if 4 * seen < len(self.classes):
            told = f'{seen} of these {len(self.classes)} classes occur; number them 0, 1, 2, ...'
            rows.append(('warning', told))
        if rare := [name for n, name in enumerate(self.classes) if self.images[n] < 2]:
            told = f'{", ".join(rare[:20])}: one image or none, which cannot be learned and judged'
            rows.append(('warning', told))
        for part, names in self.missing.items():
            if names:
                told = (
                    f'no image of the {PARTS[part]} has {", ".join(names[:20])}; add images with it'
                )
                rows.append(('warning', told))
        return rows


class ChainConfigs:
    """Makes the configs of one chain.

    Args:
        folder: Gets ``configs/`` and a work dir for each training.
        images: Folder of the images.
    """

    def __init__(self, folder: Path, images: str, survey: Survey, plan: Plan, seed: int):
        self.folder, self.images = folder.resolve(), str(Path(images).expanduser().resolve())
        self.survey, self.plan, self.seed = survey, plan, seed
        self.loader = None  # that of the shipped configs: 8 bits and three channels
        self.channels = survey.loaded_channels
        if not survey.is_8_bit:
            self.loader = dict(type='beit_mm.LoadMultiBandImage', channels=self.channels)
            self.loader['dtype'] = next(iter(survey.dtypes))
            if survey.nodata is not None:  # NaN as text, since configs have no word for it
                is_nan = survey.nodata != survey.nodata
                self.loader['nodata'] = 'nan' if is_nan else survey.nodata
            window, self.range = self._values()
            self.loader.update(dict(window=window) if window else {})
            self.start = window[0] if window else 0.0  # the value that the loader makes 0

    def _values(self) -> tuple[tuple[float, float] | None, float]:
        """Return the window of the loader, None for none, and the value that tokens call 1.

        They are those of a trained tokenizer, if its images had values like these. A range that is
        far from 0 for its width, such as 290 to 310 K, is counted from its lower end, too.
        """
        low, high = self.survey.low, self.survey.high
        far = low > high - low > 0
        if far:  # other images may have a little less or more
            low, high = low - MARGIN * (high - low), high + MARGIN * (high - low)
        elif low > 0:
            low = 0.0
        trained = self.plan.tokenizer
        if trained and trained.scale and (trained.window or low == 0):
            if trained.scale / LIKE < high - low <= 2 * trained.scale:
                return trained.window and tuple(trained.window), trained.scale
        return (low, high) if low < 0 or far else None, high - low

    def make(self, stage: str, labels: Labels | None) -> Config:
        """Return the config of a stage, such as 'pretrain' or 'cls_scratch'."""
        kind, _, start = stage.partition('_')
        config = self.base(stage)
        set_sizes(config, self.plan.token_size if kind == 'tokenizer' else self.plan.size)
        config.work_dir = str(self.folder / stage)
        config.randomness.seed = self.seed
        for name in DATALOADERS:
            if config.get(name):
                self._set_data(config[name], 'train' if 'train' in name else 'val', labels)
        if config.get('auto_scale_lr'):  # its learning rate is taken for this batch, too
            config.auto_scale_lr.base_batch_size = config.train_dataloader.batch_size
        if labels is not None:
            config.test_pipeline = config.test_dataloader.dataset.pipeline
        dict(tokenizer=self._tokenizer, pretrain=self._pretrain).get(kind, self._task)(
            config, kind, labels
        )
        if start == 'scratch':
            config.model.backbone.init_cfg = None
            config.optim_wrapper.paramwise_cfg.layer_decay_rate = 1.0
        return config

    def base(self, stage: str) -> Config:
        """Return the shipped config of a stage as it is."""
        return load_config(PACKAGE / '.mim' / 'configs' / self._leaf(stage))

    def write(self, stage: str, config: Config) -> Path:
        """Write a config as a child of the shipped one."""
        path = self.folder / 'configs' / f'{stage}.py'
        write_config(path, self._leaf(stage), self.base(stage), config, ABOUT[stage])
        return path

    def _leaf(self, stage: str) -> str:
        return LEAVES[self.plan.family][stage.partition('_')[0]]

    def _set_data(self, loader: Mapping, part: str, labels: Labels | None) -> None:
        dataset = loader['dataset']
        if labels is None:
            dataset.update(data_root=self.images, part=part, val_share=0.1)
            if broken := self.survey.broken_below(self.images):
                dataset['exclude'] = broken
            count = len(self.survey.paths)
        else:
            dataset.update(labels.dataset)
            count = labels.count
            if labels.parts:
                dataset.update(part=None, file_list=str(self._write_list(part, labels)))
        if self.loader:
            dataset['extensions'] = EXTENSIONS
        loader['batch_size'] = max(min(loader['batch_size'], self.plan.batch, count // 2), 1)
        loader['num_workers'] = min(loader.get('num_workers', 0), os.cpu_count() or 1)
        dataset['pipeline'] = self._fit(dataset['pipeline'])
        is_below = Path(dataset['data_root']).is_relative_to(self.images)
        is_known = self.survey.is_complete and is_below
        if part == 'train' and not is_known:
            loader['dataset'] = dict(type='beit_mm.SkipBadSamples', dataset=dataset)

    def _write_list(self, part: str, labels: Labels) -> Path:
        path = self.folder / 'configs' / f'masks_{part}.txt'
        content = ''.join(f'{name}\n' for name in labels.parts[part])
        write_atomically(path, content.encode(errors='surrogateescape'))
        return path

    def _fit(self, pipeline: list[Mapping]) -> list[dict]:
        """Return the transforms for the loader of the images and the tokenizer of the plan."""
        steps = []
        for step in map(dict, pipeline):
            name = step['type'].split('.')[-1]
            if name == 'LoadImageFromFile' and self.loader:
                step = dict(self.loader)
            elif name == 'TwoViewResizedCrop':
                if 'token_size' in step:
                    step['token_size'] = self.plan.token_size
                if self.loader:  # other filters pass the largest value at edges
                    views = ['interpolation', *['token_interpolation'] * ('token_size' in step)]
                    step.update(dict.fromkeys(views, 'bilinear'))
            elif name == 'ResizeEdge' and self.loader:  # Pillow has no images of many bands
                step = dict(type='beit_mm.TwoViewResizedCrop', size=self.plan.size)
                step.update(scale=(1.0, 1.0), ratio=(1.0, 1.0))
            elif name == 'PackSegInputs' and self.loader:  # mmseg's preprocessor has 1 or 3 means
                steps.append(dict(type='Normalize', **self._moments(), to_rgb=False))
            steps.append(step)
        return steps

    def _tokenizer(self, config: Config, kind: str, labels: None) -> None:
        config.model.vocab_size = self.plan.vocab_size
        if self.channels != 3:
            config.model.in_channels = self.channels
        if self.loader:
            config.data_preprocessor.update(std=[self.range], bgr_to_rgb=False)

    def _pretrain(self, config: Config, kind: str, labels: None) -> None:
        model = config.model
        if self.plan.tokenizer:
            model.tokenizer = ConfigDict(self.plan.tokenizer.config)
        else:
            model.tokenizer.vocab_size = self.plan.vocab_size
            model.tokenizer.init_cfg.checkpoint = str(self.folder / 'tokenizer')
        self._encoder(model.backbone)
        if self.plan.init:
            checkpoint = str(Path(self.plan.init).expanduser().resolve())
            init = dict(type='Pretrained', checkpoint=checkpoint)
            init |= dict(prefix=self.plan.init_prefix) if self.plan.init_prefix else {}
            model.backbone.init_cfg = init
            config.optim_wrapper.optimizer.lr = config.optim_wrapper.optimizer.lr / 5
        if self.channels != 3 and not self.plan.tokenizer:
            model.tokenizer.in_channels = self.channels
        if self.loader:
            config.data_preprocessor.update(self._moments(), bgr_to_rgb=False)
            config.data_preprocessor.token_scale = self.range

    def _task(self, config: Config, kind: str, labels: Labels) -> None:
        model = config.model
        self._encoder(model.backbone)
        model.backbone.init_cfg.checkpoint = str(self.folder / 'pretrain')
        head = model.head if kind == 'cls' else model.decode_head
        head.num_classes = len(labels.classes)
        if labels.weights is not None:
            head.loss_decode.class_weight = labels.weights
        dims = self.plan.backbone.get('arch', {}).get('embed_dims')
        if dims and kind == 'cls':
            model.neck.dims = head.in_channels = dims
        elif dims:
            head.in_channels = head.channels = dims
        preprocessor = config.data_preprocessor if kind == 'cls' else model.data_preprocessor
        if kind == 'cls':
            preprocessor.num_classes = len(labels.classes)
        if self.loader and kind == 'cls':
            preprocessor.update(self._moments(), to_rgb=False)
        elif self.loader:
            preprocessor.update(mean=None, std=None, bgr_to_rgb=False)

    def _encoder(self, backbone: Mapping) -> None:
        backbone.update(self.plan.backbone)
        if self.channels != 3:
            backbone['in_channels'] = self.channels

    def _moments(self) -> dict:
        return dict(mean=[mean - self.start for mean in self.survey.mean], std=self.survey.std)
