"""What a model must be to have a place in the BEiT of another library."""

from beit_mm.apis.export.subject import Subject
from beit_mm.contracts import UserError


def check_classifier(subject: Subject, library: str) -> None:
    """Raise a UserError unless it is BEiT's: mean of the last patches, norm, linear layer."""
    model, encoder = subject.module, subject.encoder
    neck, head = type(model.neck).__name__, type(model.head).__name__
    found = {name for name in subject.state if not name.startswith('backbone.')}
    known = {f'{part}.{kind}' for part in ('neck.norm', 'head.fc') for kind in ('weight', 'bias')}
    last = encoder.out_indices[-1] == encoder.num_layers - 1
    if found != known or neck != 'PatchMeanNeck' or not last or encoder.norm is not None:
        raise UserError(
            f'{library} classifies the mean of the last patches after a norm and a linear layer, '
            f'but this model has {neck} and {head} on layer {encoder.out_indices[-1] + 1} of '
            f'{encoder.num_layers}{" with final_norm" * (encoder.norm is not None)}; export it '
            'with --to onnx, or its encoder with --backbone'
        )
    own, eps = model.neck.norm.eps, encoder.blocks[0].norm1.eps
    if own != eps:
        raise UserError(
            f'The norms of the encoder have eps={eps}, that of the neck {own}, but {library} has '
            'one value for all; export the model with --to onnx'
        )
