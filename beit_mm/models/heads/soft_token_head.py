import torch
import torch.nn.functional as F
from torch import Tensor

from beit_mm.contracts import UserError, check_choice
from beit_mm.models.heads.visual_token_head import VisualTokenHead
from beit_mm.registry import MODELS

NEEDS = dict(ids=(), neighbors=('codebook',), posterior=('posterior',))


@MODELS.register_module()
class SoftTokenHead(VisualTokenHead):
    """A VisualTokenHead whose target is a distribution over the vocabulary.

    Tokens that look alike are all right answers to some degree (mc-BEiT, arXiv 2203.15371), while
    the hard id calls all but one wrong. ``acc`` and ``cross_entropy`` in the log are those of the
    hard ids whatever the target, so that they compare with the unigram entropy.

    Args:
        target: ``ids``: label smoothing over the whole vocabulary. ``neighbors``: the mass
            ``smoothing`` goes to the other codes by their distance in the tokenizer's codebook.
            ``posterior``: (1 - smoothing) of the id and ``smoothing`` of the distribution that the
            tokenizer itself has for the patch; with smoothing=1 of that alone.
        smoothing: In [0, 1]; 0 is the hard id.
        temperature: Of the softmax of the neighbors or the posterior; smaller is sharper. Squared
            distances are in units of their mean over all pairs of codes. None takes 0.1 for
            neighbors and 1 for the posterior, which leaves it as it is.
        positions: ``masked`` or ``all`` patches have a loss.
        kwargs: As :class:`VisualTokenHead`.
    """

    def __init__(
        self,
        vocab_size: int,
        dims: int,
        target: str = 'ids',
        smoothing: float = 0.1,
        temperature: float | None = None,
        positions: str = 'masked',
        **kwargs,
    ):
        super().__init__(vocab_size, dims, **kwargs)
        check_choice('SoftTokenHead', NEEDS, target=target)
        check_choice('SoftTokenHead', ('masked', 'all'), positions=positions)
        if not 0 <= smoothing <= 1:
            raise UserError(f'SoftTokenHead.smoothing={smoothing}: expected a number in [0, 1]')
        if temperature is None:
            temperature = 0.1 if target == 'neighbors' else 1.0
        if temperature <= 0:
            raise UserError(f'SoftTokenHead.temperature={temperature}: expected a positive number')
        self.target = target
        self.smoothing = smoothing
        self.temperature = temperature
        self.predicts_all = positions == 'all'
        self.needs = NEEDS[target]

    def loss(
        self,
        features: Tensor,
        targets: Tensor,
        codebook: Tensor | None = None,
        posterior: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Compute the cross-entropy with the soft targets.

        Args:
            features: (M, C)
            targets: Token ids, (M,).
            codebook: (V, D), for target='neighbors'.
            posterior: (M, V), for target='posterior'.

        Returns:
            ``loss`` and ``cross_entropy`` (of the hard ids) in nats, ``acc`` in percent.
        """
        logits = self.predict(features)
        if len(targets) == 0:
            zero = logits.new_zeros(())
            return dict(loss=logits.sum(), cross_entropy=zero, acc=zero)
        log_p = logits.log_softmax(-1)
        hard = F.nll_loss(log_p, targets)
        soft = -(self.distribution(targets, codebook, posterior) * log_p).sum(-1).mean()
        return dict(
            loss=(1 - self.smoothing) * hard + self.smoothing * soft,
            cross_entropy=hard.detach(),
            acc=(logits.argmax(-1) == targets).float().mean() * 100,
        )

    def distribution(
        self, ids: Tensor, codebook: Tensor | None = None, posterior: Tensor | None = None
    ) -> Tensor:
        """Return what the mass ``smoothing`` is spread by: (M, V), rows that sum to 1."""
        if self.target == 'neighbors':
            return neighbor_targets(ids, codebook, self.temperature)
        if self.target == 'posterior':
            return sharpened(posterior, self.temperature)
        return torch.full((len(ids), self.vocab_size), 1 / self.vocab_size, device=ids.device)


def neighbor_targets(ids: Tensor, codes: Tensor, temperature: float) -> Tensor:
    """Return a softmax (M, V) over the other codes (V, D) of ids (M,); nearer ones weigh more.

    Logits are minus the squared distances over ``temperature`` times their mean over all pairs, so
    that the temperature means the same for every codebook. The code itself has probability 0.
    """
    codes = codes.float()
    mean = 2 * codes.var(0, correction=0).sum()  # of the squared distance of two random codes
    distances = torch.cdist(codes[ids], codes, compute_mode='donot_use_mm_for_euclid_dist').square()
    logits = -distances / (temperature * mean.clamp(min=1e-12))
    return logits.scatter(1, ids[:, None], -torch.inf).softmax(-1)


def sharpened(probabilities: Tensor, temperature: float) -> Tensor:
    """Return p^(1 / temperature) of rows of probabilities (M, V), normalized."""
    tiny = torch.finfo(probabilities.dtype).tiny
    return (probabilities.clamp(min=tiny).log() / temperature).softmax(-1)
