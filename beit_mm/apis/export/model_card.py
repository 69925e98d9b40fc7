"""The README.md of an exported folder: what the checkpoint says of itself, and how to load it."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from beit_mm.apis.export.images import Resizing, resizing_steps
from beit_mm.apis.export.run_facts import read_run
from beit_mm.apis.export.subject import TURNED, Subject
from beit_mm.apis.verbs import PREDICTS

TAGS = dict(
    classification='image-classification',
    segmentation='image-segmentation',
    pretraining='image-feature-extraction',
    backbone='image-feature-extraction',
)
PIPELINE = """from transformers import pipeline

model = pipeline('{tag}', model='{name}')
print(model('image.jpg'))"""
ARRAYS = """from transformers import AutoImageProcessor, AutoModel

images = AutoImageProcessor.from_pretrained('{name}')(
    array, input_data_format='channels_first', return_tensors='pt'  # array: ({channels}, H, W)
)
outputs = AutoModel.from_pretrained('{name}')(**images)"""
TIMM = """import timm

model = timm.create_model('local-dir:{name}', pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))"""
ONNX = """import onnxruntime

session = onnxruntime.InferenceSession('{name}/model.onnx')
outputs = session.run(None, dict(images=pixels))  # float32 {shape}, {values}"""
OURS = """import beit_mm

model = beit_mm.load_model('{name}')
model.{verb}('images/').save('results.csv')"""


def write_card(subject: Subject, found, source: str, folder: Path) -> None:
    """Write README.md.

    Args:
        found: The ``Export``, with the differences that the proof has found.
        source: File of the checkpoint, for what it tells of its training.
    """
    parts = [
        _head(subject, found.to),
        f'# {found.folder.resolve().name}',
        _summary(subject),
        f'## Use\n\n```python\n{make_code(subject, found.to, found.folder.resolve().name)}\n```',
        '## Images\n\n' + _table(_images(subject)),
        *_classes(subject),
        *_training(subject, read_run(source)),
        '## Checked\n\nLargest difference from the outputs of beit_mm, as a share of the largest '
        'output (of ids: the share that differs).\n\n'
        + _table({name: f'{value:.0e}' for name, value in found.differences.items()}),
        '## Limits\n\n' + '\n'.join(f'- {line}' for line in _limits(subject)),
    ]
    (folder / 'README.md').write_text('\n\n'.join(parts) + '\n', encoding='utf-8')


def make_code(subject: Subject, to: str, name: str) -> str:
    """Return the lines that load the folder and use it."""
    if to == 'huggingface':
        text = PIPELINE if subject.in_channels == 3 else ARRAYS
    else:
        text = dict(timm=TIMM, onnx=ONNX, beit_mm=OURS)[to]
    return text.format(
        name=name,
        tag=TAGS.get(subject.task, ''),
        channels=subject.in_channels,
        shape=('batch', subject.in_channels, *(subject.size or ())),
        values='{:g} is black, {:g} white'.format(*subject.window or (0, subject.white)),
        verb=PREDICTS[subject.task],
    )


def _head(subject: Subject, to: str) -> str:
    lines = [f'library_name: {"transformers" if to == "huggingface" else to}']
    if subject.task in TAGS:
        lines.append(f'pipeline_tag: {TAGS[subject.task]}')
    return '\n'.join(['---', *lines, 'tags:', '- beit', '- beit_mm', '---'])


def _summary(subject: Subject) -> str:
    kind = subject.description.get('model') or type(subject.module).__name__
    count = sum(parameter.numel() for parameter in subject.module.parameters())
    half = ', stored in float16' if subject.is_half else ''
    return (
        f'A model for {subject.task} ({kind}, {count:,} parameters{half}), trained with '
        'beit_mm and exported by it.'
    )


def _images(subject: Subject) -> dict[str, str]:
    known = {'patch': f'{subject.patch_size} pixels'} if subject.patch_size else {}
    if subject.size is None:
        return _normalization(subject) | known
    resizing = Resizing.of(subject)
    steps = f'to {subject.size[0]} x {subject.size[1]}, {resizing.interpolation}'
    if resizing.edge is not None:
        steps = f'shorter side to {resizing.edge}, {resizing.interpolation}; crop of the center'
    return {
        'size (height x width)': f'{subject.size[0]} x {subject.size[1]}',
        'resized': steps,
        **_normalization(subject),
        **known,
    }


def _normalization(subject: Subject) -> dict[str, str]:
    order = TURNED.get(subject.channel_order, subject.channel_order)
    low, high = subject.window or (0, 0)
    read = dict(window=f'values of a file are clipped to [{low:g}, {high:g}], less {low:g}')
    read |= {name: subject.loader.get(name) for name in ('bands', 'nodata', 'fill')}
    return {
        'channels': f'{subject.in_channels}, {order}',
        **{name: read[name] for name in read if subject.loader.get(name) is not None},
        f'mean (white is {subject.white:g})': ', '.join(f'{v:g}' for v in subject.mean),
        'std': ', '.join(f'{v:g}' for v in subject.std),
    }


def _classes(subject: Subject) -> Iterator[str]:
    if not subject.classes:
        return
    rows = ['| id | class | color |' if subject.palette else '| id | class |']
    rows.append('|---' * (rows[0].count('|') - 1) + '|')
    for number, name in enumerate(subject.classes):
        color = ''
        if subject.palette and number < len(subject.palette):
            color = f' {", ".join(map(str, subject.palette[number]))} |'
        rows.append(f'| {number} | {_cell(name)} |{color}')
    yield '## Classes\n\n' + '\n'.join(rows)


def _training(subject: Subject, run: Mapping[str, Mapping]) -> Iterator[str]:
    rows = {f'data: {name}': value for name, value in run.get('data', {}).items()}
    rows |= run.get('length', {})
    rows |= {name: f'{value:.6g}' for name, value in run.get('metrics', {}).items()}
    tokenizer = subject.description.get('tokenizer', {})
    for name in ('type', 'vocab_size', 'stride', 'sha256', 'weights_sha256'):
        if name in tokenizer:
            rows[f'tokenizer: {name}'] = tokenizer[name]
    rows |= {f'version: {k}': v for k, v in subject.description.get('versions', {}).items()}
    code = subject.description.get('code', {})
    if 'commit' in code:
        rows['code'] = str(code['commit']) + ', with changes' * bool(code.get('changed'))
    if rows:
        yield '## Training\n\n' + _table(rows)


def _limits(subject: Subject) -> list[str]:
    lines = list(subject.notes)
    if subject.size is not None and not Resizing.of(subject).is_exact:
        lines.append(
            'Images of other sizes are resized in another way than in the training, whose steps '
            'this library does not have.'
        )
    elif subject.size is not None and not resizing_steps(subject):
        lines.append(
            f'Images are brought to {subject.size[0]} x {subject.size[1]} pixels. The training did '
            'not resize its images.'
        )
    if subject.in_channels != 3:
        lines.append(
            f'Images have {subject.in_channels} channels; pipelines that open pictures give 3.'
        )
    lines.append('Nothing is known of images of another kind than those it was trained on.')
    return lines


def _table(rows: Mapping) -> str:
    lines = [f'| {_cell(name)} | {_cell(value)} |' for name, value in rows.items()]
    return '\n'.join(['| | |', '|---|---|', *lines])


def _cell(value) -> str:
    return str(value).replace('|', r'\|').replace('\n', ' ')
