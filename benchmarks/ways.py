"""What the benchmark times: `collect`, the published way, sae_lens, bare products."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from sae_lens import JumpReLUSAE, JumpReLUSAEConfig, run_evals
from sae_lens.evals import EvalConfig
from sae_lens.training.activation_scaler import ActivationScaler
from tokenizers import Tokenizer, models
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedTokenizerFast
from transformers.pytorch_utils import Conv1D

from saecert import SequenceLosses
from saecert.corpora.corpus import Corpus
from saecert.measurement.proxies import Proxy, full, mean_ablation, pool, zero_ablation
from saecert.measurement.scoring import smoothed_bits
from saecert.measurement.site import Site
from saecert.measurement.sweep import sweep
from saecert.subjects.forward import n_skippable, native_acts
from saecert.subjects.subject import Subject

ALPHA = 0.5
N_CTX = 128
N_PROXIES = 6
FLOOR_ROWS = 512
FLOOR_REPEATS = 3
FLOOR_SECONDS = 0.1
Shape = tuple[int, int, int, int]
"""Of a product of matrices: how many at once, rows, inner dimension, columns."""
Clock = Callable[[], float]


def save_random(
    folder: Path,
    config: PretrainedConfig,
    hook_names: Sequence[str],
    d_sae: int,
    reach: float = 3.0,
) -> Path:
    """A folder with a model of random weights, a tokenizer with as many words, JumpReLU SAEs.

    Latents have unit length and are active beyond `reach` standard deviations of the residual
    stream: 33 of 24,576 at 3.
    """
    torch.manual_seed(0)
    config.bos_token_id = config.eos_token_id = config.pad_token_id = 0
    model = AutoModelForCausalLM.from_config(config).eval()
    model.save_pretrained(folder)
    vocabulary = {f"word{number}": number for number in range(config.vocab_size)}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="word0"))
    PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="word0", eos_token="word0", pad_token="word0"
    ).save_pretrained(folder)
    with torch.no_grad():
        states = model(
            torch.randint(config.vocab_size, (1, 16)), output_hidden_states=True
        ).hidden_states
        for hook_name in hook_names:
            spread = float(states[int(hook_name.split(".")[1])].std())
            place = folder / f"saes/{hook_name}"
            save_random_sae(place, hook_name, config.hidden_size, d_sae, reach * spread)
    return folder


@torch.no_grad()
def save_random_sae(folder: Path, hook_name: str, d_in: int, d_sae: int, threshold: float) -> None:
    """A JumpReLU SAE of random latents of unit length, in sae_lens' format."""
    sae = JumpReLUSAE(JumpReLUSAEConfig(d_in=d_in, d_sae=d_sae))
    sae.W_dec.copy_(torch.nn.functional.normalize(torch.randn(d_sae, d_in), dim=1))
    sae.W_enc.copy_(sae.W_dec.T)
    sae.threshold.fill_(threshold)
    sae.cfg.metadata.hook_name = hook_name
    sae.save_model(folder)


def six_proxies(subject: Subject, corpus: Corpus, hook_name: str) -> list[Proxy]:
    """The full SAE, three pools, mean and zero ablation: one pool less than `collect` by
    default."""
    d_sae = subject.sae_at(hook_name).cfg.d_sae
    tokens = torch.from_numpy(corpus.tokens[:4].astype(np.int64)).to(subject.device)
    acts = native_acts(subject.model, tokens, hook_name)
    mean = acts.float().mean(dim=(0, 1)).cpu()
    pools = [pool(np.arange(d_sae // share), d_sae) for share in (8, 4, 2)]
    return [full(), *pools, mean_ablation(mean), zero_ablation()]


def swept(
    subject: Subject,
    corpus: Corpus,
    hook_names: Sequence[str],
    proxies: Sequence[Proxy],
    batch_size: int,
) -> list[SequenceLosses]:
    """What is timed of `collect`: its pass over the corpus, all proxies at each hook point."""
    chosen = dict.fromkeys(hook_names, proxies)
    settings = {"alphas": (ALPHA,), "batch_size": batch_size, "progress": False}
    return list(sweep(subject, corpus, chosen, **settings).values())


class PlainSite(Site):
    """Where a pool is decoded from the whole dictionary, as the published scripts do."""

    linear = ()


@torch.no_grad()
def published(
    subject: Subject, corpus: Corpus, hook_name: str, proxies: Sequence[Proxy]
) -> dict[str, np.ndarray]:
    """Smoothed losses by proxy: batch size 1, two full forwards, the SAE anew, whole softmax."""
    bits = {proxy.name: [] for proxy in proxies}
    for row, ident in zip(corpus.tokens, corpus.ids, strict=True):
        tokens = torch.from_numpy(row[None].astype(np.int64)).to(subject.device)
        for proxy in proxies:
            acts = []
            subject.model.run_with_hooks(
                tokens, fwd_hooks=[(hook_name, lambda a, hook, seen=acts: seen.append(a))]
            ).softmax(-1)
            site = PlainSite(acts[0], subject.sae_at(hook_name), np.array([ident]), int(corpus.bos))
            spliced = site.splice(proxy.replace(site))
            probs = subject.model.run_with_hooks(
                tokens, fwd_hooks=[(hook_name, lambda a, hook, new=spliced: new)]
            ).softmax(-1)
            target = probs[0, :-1].gather(1, tokens[0, 1:, None])[:, 0].double().cpu().numpy()
            bits[proxy.name].append(smoothed_bits(target, ALPHA, subject.d_vocab).mean())
    return {name: np.array(values) for name, values in bits.items()}


class Batches:
    """As much of an `ActivationsStore` of sae_lens as `run_evals` asks for: batches in order."""

    def __init__(self, corpus: Corpus, batch_size: int, device: torch.device) -> None:
        tokens = torch.from_numpy(corpus.tokens.astype(np.int64)).to(device)
        self.store_batch_size_prompts = batch_size
        self.context_size = corpus.n_ctx
        self.batches = iter(tokens.split(batch_size))

    def get_batch_tokens(self, n_prompts: int) -> torch.Tensor:
        return next(self.batches)

    def reset_input_dataset(self) -> None:
        pass


def evaluated(
    subject: Subject, corpus: Corpus, hook_name: str, batch_size: int
) -> dict[str, float]:
    """Mean cross-entropies in nats by sae_lens: clean, with the SAE, with zero ablation.

    BOS is neither replaced nor counted.
    """
    config = EvalConfig(
        compute_ce_loss=True,
        n_eval_reconstruction_batches=-(-len(corpus) // batch_size),
        git_hash="not asked",
    )
    special = [subject.tokenizer.bos_token_id] if corpus.bos else False
    store = Batches(corpus, batch_size, subject.device)
    metrics, _ = run_evals(
        subject.sae_at(hook_name),
        store,
        subject.model,
        ActivationScaler(),
        config,
        exclude_special_tokens=special,
    )
    return metrics["model_performance_preservation"]


def products(
    subject: Subject, hook_names: Sequence[str], n_proxies: int, n_seq: int, n_ctx: int
) -> Counter[Shape]:
    """How often `collect` multiplies matrices of each shape for `n_seq` sequences in one batch."""
    config = subject.model.original_model.config
    rows = n_seq * n_ctx
    with torch.device("meta"):  # the bridge splits some of the weights
        plain = AutoModelForCausalLM.from_config(config)
    runs = subject.n_layers + n_proxies * sum(
        subject.n_layers - n_skippable(name) for name in hook_names
    )
    counts: Counter[Shape] = Counter()
    for module in plain.modules():
        if (
            isinstance(module, torch.nn.Linear | Conv1D)
            and module is not plain.get_output_embeddings()
        ):
            inner, columns = (
                module.weight.shape if isinstance(module, Conv1D) else module.weight.shape[::-1]
            )
            counts[1, rows, inner, columns] += runs
    counts = Counter({shape: n // subject.n_layers for shape, n in counts.items()})
    n_heads = config.num_attention_heads
    d_head = getattr(config, "head_dim", None) or config.hidden_size // n_heads
    counts[n_seq * n_heads, n_ctx, d_head, n_ctx] += runs
    counts[n_seq * n_heads, n_ctx, n_ctx, d_head] += runs
    for sae in (subject.sae_at(name).cfg for name in hook_names):
        counts[1, rows, sae.d_in, sae.d_sae] += 1
        counts[1, rows, sae.d_sae, sae.d_in] += 1  # pools add up the atoms of their active latents
    counts[1, n_seq * (n_ctx - 1), config.hidden_size, subject.d_vocab] += 1 + n_proxies * len(
        hook_names
    )
    return counts


def product_seconds(
    shape: Shape, clock: Clock = time.perf_counter, dtype: torch.dtype = torch.float32
) -> float:
    """Mean time of one product; of a tall one a part is timed and scaled, as collect cuts it up."""
    batch, rows, inner, columns = shape
    some = min(rows, FLOOR_ROWS) if columns > 20 * inner else rows
    together = () if batch == 1 else (batch,)
    left = torch.randn(*together, some, inner).to(dtype)
    right = torch.randn(*together, columns, inner).to(dtype).mT
    out = torch.empty(*together, some, columns, dtype=dtype)
    torch.matmul(left, right, out=out)
    repeats = 0
    spent = 0.0
    start = clock()
    while repeats < FLOOR_REPEATS or spent < FLOOR_SECONDS:
        torch.matmul(left, right, out=out)
        repeats += 1
        spent = clock() - start
    return spent / repeats * rows / some
