# Classification, by epochs.
_base_ = './default_runtime.py'
default_scope = 'mmpretrain'
default_hooks = dict(
    logger=dict(interval=100),
    checkpoint=dict(by_epoch=True, interval=1),
    update_guard=dict(ignore=['backbone.mask_token']),  # nothing is masked any more
)
log_processor = dict(by_epoch=True, window_size=10)
visualizer = dict(type='UniversalVisualizer')
