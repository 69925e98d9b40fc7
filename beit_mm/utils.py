"""What ``mmengine.hub.get_model`` asks of every package, under the name that it asks for."""

from importlib import import_module

from mmengine import registry


def register_all_modules(init_default_scope: bool = True) -> None:
    """Import all plugins. The registries do so themselves, at the first look-up of a name.

    Args:
        init_default_scope: Make beit_mm the scope of names without a prefix.
    """
    for room in ('datasets', 'engine', 'evaluation', 'models', 'visualization'):
        import_module(f'beit_mm.{room}')
    if init_default_scope:
        registry.init_default_scope('beit_mm')
