# Segmentation. Intervals are those of ADE20K's 160k iterations.
_base_ = './default_runtime.py'
default_scope = 'mmseg'
default_hooks = dict(
    checkpoint=dict(interval=16_000, max_keep_ckpts=2),
    update_guard=dict(ignore=['backbone.mask_token']),  # nothing is masked any more
)
log_processor = dict(window_size=10)
visualizer = dict(type='SegLocalVisualizer')
