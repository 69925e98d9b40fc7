"""Parts of a config with the defaults of their classes."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.registry import MODELS

from beit_mm.contracts import Backbone, Target
from beit_mm.contracts.config_walk import class_name
from beit_mm.contracts.constructor import with_defaults
from beit_mm.contracts.target import is_target_class
from beit_mm.preflight.config.classes import class_of
from beit_mm.preflight.config.keys import value_at
from beit_mm.preflight.config.names import DEFAULT_PREPROCESSORS


class TokenizerConfig(NamedTuple):
    """The tokenizer that a config trains, or takes as the target of a pre-training."""

    key: str
    cls: type[Target]
    config: Mapping

    @property
    def vocab_size(self) -> int | None:
        return self._ask(self.cls.vocab_size_of)

    @property
    def stride(self) -> int | None:
        return self._ask(self.cls.stride_of)

    def _ask(self, question: Callable[[Mapping], int | None]) -> int | None:
        try:
            return question(self.config)
        except Exception:  # of arguments that the class refuses as well, and says why
            return None


def tokenizer_in(config: Config) -> TokenizerConfig | None:
    """Return the tokenizer of a config; None if it has none, or its class is not known."""
    model = config.get('model')
    if not isinstance(model, Mapping):
        return None
    key = 'model.tokenizer' if 'tokenizer' in model else 'model'
    part = model.get('tokenizer', model)
    cls = _class_of(part, config)
    return TokenizerConfig(key, cls, part) if is_target_class(cls) else None


def backbone_in(config: Config) -> dict[str, Any] | None:
    """Return the arguments of the backbone with their defaults; None if there is none.

    ``patch_size`` may be an attribute of the class.
    """
    backbone = value_at(config, 'model.backbone')
    if not isinstance(backbone, Mapping):
        return None
    found, cls = _with_defaults(backbone, config), _class_of(backbone, config)
    if 'patch_size' not in found and isinstance(cls, type) and issubclass(cls, Backbone):
        found['patch_size'] = getattr(cls, 'patch_size', None)
    return found


def preprocessor_in(config: Config) -> dict[str, Any] | None:
    """Return the arguments of the preprocessor with their defaults; None if none is given.

    ``type`` is the name of the class without its scope.
    """
    given = value_at(config, preprocessor_key(config))
    if not isinstance(given, Mapping):
        return None
    default = DEFAULT_PREPROCESSORS.get(config.get('default_scope'))
    given = {**given, 'type': given.get('type') or default}
    return dict(_with_defaults(given, config), type=class_name(given))


def preprocessor_key(config: Mapping) -> str:
    """Return the key of the preprocessor in a config. MMEngine prefers the one inside the model."""
    inside = value_at(config, 'model.data_preprocessor')
    return 'model.data_preprocessor' if inside else 'data_preprocessor'


def _with_defaults(part: Mapping, config: Config) -> dict[str, Any]:
    cls = _class_of(part, config)
    return with_defaults(cls, part) if isinstance(cls, type) else dict(part)


def _class_of(part, config: Config):
    return class_of(MODELS, part, config.get('default_scope') or 'mmengine')
