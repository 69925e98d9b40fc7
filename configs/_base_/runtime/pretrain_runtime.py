# Tokenizers and pre-training. What is trained by epochs sets by_epoch=True in two places:
# default_hooks.checkpoint and log_processor.
_base_ = './default_runtime.py'
default_scope = 'beit_mm'
default_hooks = dict(codebook_guard=dict(type='beit_mm.CodebookGuardHook', action='warn'))
