"""Whether a config treats images, patches and tokens as the checkpoints that it loads did."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from mmengine.config import Config

from beit_mm.checkpoints import read_description
from beit_mm.checkpoints.description import differences, join_facts, tokenizer_facts
from beit_mm.contracts import Finding
from beit_mm.contracts.config_walk import class_name
from beit_mm.contracts.constructor import with_defaults
from beit_mm.contracts.starting_weights import pretrained_steps
from beit_mm.preflight.config.keys import value_at
from beit_mm.preflight.config.parts import (
    backbone_in,
    preprocessor_in,
    preprocessor_key,
    tokenizer_in,
)


def check_stages(config: Config) -> Iterator[Finding]:
    """Yield the differences from the files that ``load_from`` and ``init_cfg`` name.

    Files that are missing, or do not say how they were trained, are passed over.
    ``default_hooks.load_report.between_stages`` decides as it does in the training.
    """
    report = value_at(config, 'default_hooks.load_report')
    mode = report.get('between_stages', 'report') if isinstance(report, Mapping) else 'ignore'
    if mode == 'ignore' or not isinstance(config.get('model'), Mapping):
        return
    key = preprocessor_key(config)
    here = None
    for part, source, prefix in _sources(config):
        found = read_description(source)
        if found is None:
            continue
        if prefix == 'backbone.' and 'tokenizer' in found and 'backbone' not in found:
            yield Finding.error(
                f'model.{part}.init_cfg.checkpoint',
                f'{source} is a tokenizer ({found.get("model")}) and has no backbone; '
                'name the checkpoint of the pre-training with it',
            )
            continue
        here = here or parts_of_config(config)
        for finding in differences(
            found, here, source, part, resumes=bool(config.get('resume')), preprocessor=key
        ):
            level = dict(warn='warning', error='error').get(mode, finding.level)
            yield replace(finding, level=level)


def parts_of_config(config: Config) -> dict[str, Any]:
    """Return the facts of the model that a config builds, see ``description.join_facts``."""
    arguments, found, tokenizer = backbone_in(config), tokenizer_in(config), None
    backbone = None
    if arguments is not None:
        names = ('patch_size', 'in_channels')
        backbone = {name: arguments[name] for name in names if name in arguments}
        backbone['adapts_channels'] = arguments.get('adapt_channels') is not None
    if found is not None:
        options = with_defaults(found.cls, found.config)
        channels = options.get('in_channels', found.cls.in_channels)
        numbers = (found.vocab_size, found.stride, channels)
        tokenizer = tokenizer_facts(found.cls, found.config, *numbers)
    return join_facts(
        config,
        model=class_name(config.model),
        settings=preprocessor_in(config),
        backbone=backbone,
        tokenizer=tokenizer,
        is_tokenizer=found is not None and found.key == 'model',
    )


def _sources(config: Config) -> Iterator[tuple[str, str, str | None]]:
    """Yield part of the model, file and prefix in it of all that is loaded."""
    if isinstance(config.get('load_from'), str):
        yield 'model', config.load_from, None
    for part in ('model', 'backbone', 'tokenizer'):
        owner = config.model if part == 'model' else config.model.get(part)
        given = owner.get('init_cfg') if isinstance(owner, Mapping) else None
        for step in pretrained_steps(given):
            if isinstance(step['checkpoint'], str):
                yield part, step['checkpoint'], step.get('prefix')
