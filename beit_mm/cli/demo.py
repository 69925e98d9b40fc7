"""A page in the browser that asks a model about images (tools/demo.py)."""

import argparse
import os
import random
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from beit_mm.apis import Model, demo, load_model
from beit_mm.apis.reports.pictures import RATIO, blockwise_masks
from beit_mm.apis.verbs.verb import backbone_of
from beit_mm.cli.arguments import add_device
from beit_mm.contracts.packages import need

CSS = """
.gradio-container {max-width: 1000px !important; margin: auto !important}
.image-frame img, .image-container img {
  width: 100%; height: 100%; object-fit: contain; image-rendering: pixelated}
label[data-testid="block-label"] {position: static !important; width: fit-content}
footer {display: none !important}
"""


class Page:
    """The page of a model, with a tab for each thing that it offers.

    Attributes:
        blocks: ``gradio.Blocks``.

    Raises:
        MissingPackageError: gradio is not installed.
    """

    def __init__(self, model: Model):
        os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'
        self.gr, self.model = need('gradio', 'the demo page'), model
        gr, path = self.gr, Path(model.source)
        with gr.Blocks(title='beit_mm', analytics_enabled=False) as self.blocks:
            gr.Markdown(f'## {path.parent.name}/{path.name}\n{model.task}')
            if model.in_channels in (None, 1, 3) and model.value_range[1] == 255:
                options = dict(image_mode='L' if model.in_channels == 1 else 'RGB')
                options |= dict(
                    type='numpy', sources=['upload'], height=240, buttons=['fullscreen']
                )
                self.image = gr.Image(label='Drop an image', **options)
            else:  # which a browser does not show
                self.image = gr.File(type='filepath', label='Drop an image')
            with gr.Tabs():
                for name in demo.offers(model):
                    with gr.Tab(name.capitalize()):
                        dict(mask=self.mask, attention=self.attention).get(name, self.answer)(name)

    def launch(self, port: int | None = None) -> str:
        """Serve the page to this machine alone, in a thread, and return its address."""
        fonts = dict(font=['system-ui', 'sans-serif'], font_mono=['monospace'])  # no web fonts
        _, address, _ = self.blocks.launch(
            server_name='127.0.0.1',
            server_port=port,
            share=False,
            quiet=True,
            show_error=True,
            prevent_thread_lock=True,
            theme=self.gr.themes.Soft(**fonts),
            css=CSS,
        )
        return address

    def picture(self, label: str) -> Any:
        options = dict(min_width=240, buttons=['download', 'fullscreen'])  # none to share it
        return self.gr.Image(label=label, interactive=False, **options)

    def answer(self, name: str) -> None:
        """Show what follows from the image alone."""
        if name == 'classes':
            ask, outputs = demo.classify, [self.gr.Label(num_top_classes=5, label='Classes')]
        elif name == 'segmentation':
            colors = demo.class_colors(self.model)
            answer = self.gr.AnnotatedImage(
                label='Classes', color_map=colors, buttons=['fullscreen']
            )
            ask, outputs = demo.segment, [answer]
        else:
            with self.gr.Row():
                outputs = [self.picture('Tokens: a color for each'), self.picture('Decoded')]
            ask, outputs = demo.show_tokens, [*outputs, self.gr.Markdown()]
        nothing = [None] * len(outputs) if len(outputs) > 1 else None
        self.image.change(
            lambda image: nothing if image is None else ask(self.model, image), self.image, outputs
        )

    def mask(self, name: str) -> None:
        gr, image, model, state = self.gr, self.image, self.model, self.gr.State()
        gr.Markdown('Click on the picture to mask patches or to show them again, or draw a mask.')
        with gr.Row():
            share = gr.Slider(0.05, 0.95, RATIO, step=0.05, label='Share of a drawn mask')
            brush = gr.Slider(1, 4, 1, step=1, label='Side of a click, in patches')
        with gr.Row():
            draw, clear = gr.Button('Draw a mask', variant='primary'), gr.Button('Clear')
        with gr.Row():
            canvas = self.picture('What the model sees')
            answers = [self.picture('Predicted tokens'), self.picture('True tokens')]
        outputs = [state, canvas, *answers, gr.Markdown()]

        def show(x, make):
            if x is None:
                return [None] * len(outputs)
            mask = make(demo.patch_grid(model, x))
            return mask, demo.masked(model, x, mask), *demo.predict_masked(model, x, mask)

        def sample(x, share):
            return show(x, lambda grid: blockwise_masks([grid], share, random.getrandbits(32))[0])

        def click(x, mask, canvas, brush, event: gr.SelectData):
            patch = demo.patch_at(event.index, canvas, mask.shape)
            return show(x, lambda grid: demo.toggled(mask, patch, brush))

        image.change(sample, [image, share], outputs)
        draw.click(sample, [image, share], outputs)
        clear.click(lambda x: show(x, partial(np.zeros, dtype=bool)), image, outputs)
        canvas.select(click, [image, state, canvas, brush], outputs)

    def attention(self, name: str) -> None:
        gr, image, model, state = self.gr, self.image, self.model, self.gr.State()
        gr.Markdown('Click on a patch: bright is what it attends to. First it is the class token.')
        last = backbone_of(model.module).count_layers() - 1
        layer = gr.Slider(0, last, last, step=1, label='Layer')
        canvas = self.picture('Attention, mean of the heads')

        def show(x, query, layer):
            return query, None if x is None else demo.attend(model, x, query, int(layer))

        def click(x, layer, canvas, event: gr.SelectData):
            return show(x, demo.patch_at(event.index, canvas, demo.patch_grid(model, x)), layer)

        image.change(lambda x, layer: show(x, None, layer), [image, layer], [state, canvas])
        layer.release(show, [image, state, layer], [state, canvas])
        canvas.select(click, [image, layer, canvas], [state, canvas])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description='A page in the browser that asks a model')
    parser.add_argument('model', help='a work dir, a checkpoint or an exported folder')
    parser.add_argument('--config', help='of a checkpoint that does not describe itself')
    parser.add_argument('--port', type=int, help='of 127.0.0.1; by default a free one from 7860 on')
    add_device(parser)
    args = parser.parse_args(arguments)
    page = Page(load_model(args.model, args.config, args.device))
    print(f'{page.launch(args.port)} (Ctrl-C ends it)', flush=True)
    page.blocks.block_thread()
