"""A model.onnx that takes pixels: the normalization is inside, and the batch may have any size."""

import copy
import json
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from beit_mm.apis.export.images import draw_pixels
from beit_mm.apis.export.proof import TOLERANCE, compare, share_of_others
from beit_mm.apis.export.subject import TURNED, Subject
from beit_mm.contracts import UserError
from beit_mm.contracts.packages import need
from beit_mm.evaluation.layer_features import join_tokens, layer_output

FILE = 'model.onnx'
OPSET = 18
HALF_TOLERANCE = 2e-2  # of the largest output, where weights and sums are in float16
OUTPUTS = dict(
    tokenizer=('ids',),
    pretraining=('tokens', 'embedding'),
    backbone=('tokens', 'embedding'),
    classification=('logits', 'scores'),
    segmentation=('logits', 'labels'),
)


class FromPixels(nn.Module):
    """The model with its normalization.

    It takes pixels (B, C, H, W), float32 in units of the files, RGB where the order is known.

    Returns:
        Those of ``OUTPUTS``: ``ids`` (B, h, w); ``tokens`` (B, 1+N, C) after the last layer, or
        (B, N, C) without a class token, and ``embedding`` (B, C), the mean of the patches;
        ``logits`` and ``scores`` (B, K); ``logits`` (B, K, H, W) and ``labels`` (B, H, W), the
        class of each pixel.
    """

    def __init__(self, subject: Subject):
        super().__init__()
        embeds = subject.task in ('pretraining', 'backbone')
        module = subject.encoder if embeds else subject.module
        self.module = copy.deepcopy(module).half() if subject.is_half else module
        self.dtype = torch.float16 if subject.is_half else torch.float32
        self.task, self.size = subject.task, subject.size
        self.turns, self.window = subject.channel_order in TURNED, subject.window
        self.register_buffer('mean', torch.tensor(subject.mean).view(-1, 1, 1))
        self.register_buffer('std', torch.tensor(subject.std).view(-1, 1, 1))
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        images = images.flip(1) if self.turns else images
        images = images.clamp(*self.window) - self.window[0] if self.window else images
        x = ((images - self.mean) / self.std).to(self.dtype)
        if self.task == 'tokenizer':
            return (self.module.encode(x),)
        if self.task in ('pretraining', 'backbone'):
            patches, first = layer_output(self.module, x)
            return join_tokens(patches, first).float(), patches.float().mean((1, 2))
        logits = self.module(x, mode='tensor').float()
        if self.task == 'classification':
            return logits, logits.softmax(-1)
        head = self.module.decode_head
        corners = head.align_corners
        logits = F.interpolate(logits, self.size, mode='bilinear', align_corners=corners)
        if head.out_channels == 1:  # two classes by one output, as mmseg decides
            return logits, (logits[:, 0].sigmoid() > head.threshold).long()
        return logits, logits.argmax(1)


def adapt(subject: Subject) -> Subject:
    """Return the subject, or raise a UserError where its size is not known."""
    if subject.size is None:
        raise UserError(
            'The checkpoint does not say for which size of images the model is, and a file of ONNX '
            'has one for good; say it with size=(H, W), --size H W'
        )
    if subject.task == 'pretraining':
        subject.notes.append('The encoder alone: no patch is masked, and no token predicted.')
    subject.notes.append(
        f'Images have {subject.size[0]} x {subject.size[1]} pixels (height x width); the batch has '
        'any size.'
    )
    return subject


def write(subject: Subject, folder: Path) -> None:
    for package in ('onnx', 'onnxscript', 'onnxruntime'):
        need(package, 'An export to ONNX')
    model = FromPixels(subject)
    names = OUTPUTS[subject.task]
    example = draw_values(subject, 2)
    with torch.no_grad():
        model(example)  # what a first call checks is not recorded
        program = torch.onnx.export(
            model,
            (example,),
            dynamo=True,
            input_names=['images'],
            output_names=list(names),
            dynamic_shapes=({0: torch.export.Dim('batch')},),
            opset_version=OPSET,
            verbose=False,
        )
    program.model.metadata_props.update(make_properties(subject))
    program.save(str(folder / FILE), external_data=False)


def draw_values(subject: Subject, number: int) -> Tensor:
    """Return random values of files (B, C, H, W), some outside of the window if there is one."""
    pixels = draw_pixels(subject, number)
    return 1.1 * pixels + subject.window[0] - 0.05 * subject.white if subject.window else pixels


def make_properties(subject: Subject) -> dict[str, str]:
    """Return the metadata, each value as JSON but for plain words."""
    known = dict(
        task=subject.task,
        input='pixels (batch, channels, height, width), float32, before any normalization',
        channel_order=TURNED.get(subject.channel_order, subject.channel_order),
        size=json.dumps(list(subject.size)),
        channels=json.dumps(subject.in_channels),
        white=json.dumps(subject.window[1] if subject.window else subject.white),
    )
    if subject.window:
        known['window'] = json.dumps(subject.window)
    if subject.classes:
        known['classes'] = json.dumps(subject.classes, ensure_ascii=False)
    if subject.palette:
        known['palette'] = json.dumps(subject.palette)
    if subject.patch_size:
        known['patch_size'] = json.dumps(subject.patch_size)
    return known


@torch.no_grad()
def prove(subject: Subject, folder: Path, batches: Sequence[int] = (1, 3)) -> dict[str, float]:
    """Run ONNX Runtime on batches of several sizes, and return the largest differences."""
    runtime = need('onnxruntime', 'The proof of an export to ONNX')
    session = runtime.InferenceSession(str(folder / FILE), providers=['CPUExecutionProvider'])
    model = FromPixels(subject)
    tolerance = HALF_TOLERANCE if subject.is_half else TOLERANCE
    found = {}
    for number in batches:
        pixels = draw_values(subject, number)
        results = session.run(None, dict(images=pixels.numpy()))
        theirs = dict(zip(OUTPUTS[subject.task], map(torch.from_numpy, results), strict=True))
        ours = dict(zip(OUTPUTS[subject.task], model(pixels), strict=True))
        for name, values in theirs.items():
            what = f'ONNX Runtime, {name}'
            if values.is_floating_point():
                error = compare({name: values}, {name: ours[name]}, what, tolerance)
            else:
                error = share_of_others(values, ours[name], what)
            found[what] = max(error, found.get(what, 0.0))
    return found
