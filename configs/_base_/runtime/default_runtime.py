# What all runtimes share: hooks, processes, logs and the seed, for trainings that count iterations.
default_hooks = dict(
    timer=dict(type='beit_mm.EtaTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),  # by step
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='beit_mm.AtomicCheckpointHook', by_epoch=False, interval=1_000, max_keep_ckpts=3
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    load_report=dict(type='beit_mm.LoadReportHook'),
    dataset_check=dict(type='beit_mm.DatasetCheckHook'),
    non_finite_guard=dict(type='beit_mm.NonFiniteGuardHook'),
    update_guard=dict(type='beit_mm.UpdateGuardHook'),
    prediction_guard=dict(type='beit_mm.PredictionGuardHook'),
    graceful_stop=dict(type='beit_mm.GracefulStopHook'),
    worker_timeout=dict(type='beit_mm.WorkerTimeoutHook'),
    run_record=dict(type='beit_mm.RunRecordHook'),
)
env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),  # tools/train.py takes gloo where there is no GPU
)
# device_ids=None: each process has its model on one device, which may be a CPU.
model_wrapper_cfg = dict(type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False)
vis_backends = [dict(type='beit_mm.ContinuedVisBackend')]
visualizer = dict(type='Visualizer', vis_backends=vis_backends)
# Losses and times of steps are means over the window; a metric with one of these words in its name,
# such as mim/loss, is that of its validation.
log_processor = dict(
    by_epoch=False, window_size=50, mean_pattern='^[^/]*(loss|time|grad_norm)[^/]*$'
)
log_level = 'INFO'
load_from = None
resume = False
# diff_rank_seed: each process draws its own dropout and drop path.
randomness = dict(seed=0, diff_rank_seed=True)
