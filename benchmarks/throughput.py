"""Tokens per second and memory of `collect` against what people use instead, and against its own matrix products.

    python benchmarks/throughput.py [--quick] [--busy] [--threads 2] [--rounds 3] [--batch-size 8]

Six proxies (full, three pools, mean and zero ablation) at the middle layer, then at all layers together, of `docstring-6l` and of
a model with random weights of the size of GPT-2 small (12 layers, d_model 768, vocabulary 50,257, an SAE of 24,576 latents in
front of each block), sequences of 128 tokens. Compared with

* the published scripts' way: batch size 1, for each proxy the model clean and spliced from the first block to the last, the SAE
  anew, and a softmax over the whole vocabulary each time;
* the cross-entropy section of `sae_lens.run_evals` on the same tokens in the same batches: its three forwards yield the
  losses of two proxies;
* the floor: the matrix products of `collect` and nothing else, in float32 with their results written to memory that is there:
  all blocks once and those behind a hook point once per proxy (projections, attention scores, mixing of values), one encoding and one
  decoding per hook point (pools need none), one unembedding per predictor and position. Each shape is timed a few times a round and
  counted as often as it occurs, so that its factors come from the CPU's cache more often than in the model.

All are timed in turn, round after round on new sequences, so that whatever else runs on the machine slows all of them (beside
several other programs take `--busy`: one thread, and its processor time instead of the time that passes); the
published way on few sequences, and scaled. All layers take it exactly as much more as there are hook points. What a call of
`collect` costs once is left out: hashing the model, checking the SAE, and the four sequences measured once more on their own.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import multiprocessing
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import psutil
import torch
from sae_lens import JumpReLUSAE, JumpReLUSAEConfig, run_evals
from sae_lens.evals import EvalConfig
from sae_lens.training.activation_scaler import ActivationScaler
from tokenizers import Tokenizer, models
from transformers import (
    AutoModelForCausalLM,
    GemmaConfig,
    GPT2Config,
    PretrainedConfig,
    PreTrainedTokenizerFast,
)
from transformers.pytorch_utils import Conv1D

from saecert import SequenceLosses, load_corpus, load_subject
from saecert.corpora.corpus import Corpus
from saecert.measurement import sweep as losses
from saecert.measurement.proxies import Proxy, full, mean_ablation, pool, zero_ablation
from saecert.measurement.scoring import smoothed_bits
from saecert.measurement.site import Site
from saecert.subjects.forward import n_skippable, native_acts
from saecert.subjects.subject import Subject

ALPHA, N_CTX = 0.5, 128
N_PROXIES = 6
FLOOR_ROWS, FLOOR_REPEATS, FLOOR_SECONDS = 512, 3, 0.1
GPT2_SMALL = GPT2Config(
    initializer_range=0.08
)  # sharp enough that its predictions differ from uniform
WIDE = GemmaConfig(
    vocab_size=256_000,
    hidden_size=128,
    intermediate_size=512,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=64,
)
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
    """A model with random weights in Hugging Face format, a tokenizer with as many words, and JumpReLU SAEs.

    Latents have unit length and are active beyond `reach` standard deviations of the residual stream: 33 of 24,576 at 3.
    """
    torch.manual_seed(0)
    config.bos_token_id = config.eos_token_id = config.pad_token_id = 0
    model = AutoModelForCausalLM.from_config(config).eval()
    model.save_pretrained(folder)
    words = Tokenizer(
        models.WordLevel(
            {f"word{number}": number for number in range(config.vocab_size)}, unk_token="word0"
        )
    )
    PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="word0", eos_token="word0", pad_token="word0"
    ).save_pretrained(folder)
    with torch.no_grad():
        states = model(
            torch.randint(config.vocab_size, (1, 16)), output_hidden_states=True
        ).hidden_states
        for hook_name in hook_names:
            sae = JumpReLUSAE(JumpReLUSAEConfig(d_in=config.hidden_size, d_sae=d_sae))
            sae.W_dec.copy_(
                torch.nn.functional.normalize(torch.randn(d_sae, config.hidden_size), dim=1)
            )
            (
                sae.W_enc.copy_(sae.W_dec.T),
                sae.threshold.fill_(reach * states[int(hook_name.split(".")[1])].std()),
            )
            sae.cfg.metadata.hook_name = hook_name
            sae.save_model(folder / f"saes/{hook_name}")
    return folder


def six_proxies(subject: Subject, corpus: Corpus, hook_name: str) -> list[Proxy]:
    """What `collect` measures by default, but for one pool: the full SAE, three pools, mean and zero ablation."""
    d_sae, tokens = (
        subject.sae_at(hook_name).cfg.d_sae,
        torch.from_numpy(corpus.tokens[:4].astype(np.int64)),
    )
    mean = (
        native_acts(subject.model, tokens.to(subject.device), hook_name)
        .float()
        .mean(dim=(0, 1))
        .cpu()
    )
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
    return list(
        losses.sweep(
            subject, corpus, chosen, alphas=(ALPHA,), batch_size=batch_size, progress=False
        ).values()
    )


class PlainSite(Site):
    """Where a pool is decoded from the whole dictionary, as the published scripts do."""

    linear = ()


@torch.no_grad()
def published(
    subject: Subject, corpus: Corpus, hook_name: str, proxies: Sequence[Proxy]
) -> dict[str, np.ndarray]:
    """Smoothed losses by proxy: batch size 1, two full forwards a sequence and proxy, the SAE anew, whole softmax."""
    found = {proxy.name: [] for proxy in proxies}
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
            found[proxy.name].append(smoothed_bits(target, ALPHA, subject.d_vocab).mean())
    return {name: np.array(values) for name, values in found.items()}


class Batches:
    """As much of an `ActivationsStore` of sae_lens as `run_evals` asks for: batches of the corpus, one after the other."""

    def __init__(self, corpus: Corpus, batch_size: int, device: torch.device) -> None:
        tokens = torch.from_numpy(corpus.tokens.astype(np.int64)).to(device)
        self.store_batch_size_prompts, self.context_size, self.batches = (
            batch_size,
            corpus.n_ctx,
            iter(tokens.split(batch_size)),
        )

    def get_batch_tokens(self, n_prompts: int) -> torch.Tensor:
        return next(self.batches)

    def reset_input_dataset(self) -> None:
        pass


def evaluated(
    subject: Subject, corpus: Corpus, hook_name: str, batch_size: int
) -> dict[str, float]:
    """Mean cross-entropies in nats by sae_lens: clean, with the SAE, with zero ablation. BOS is neither replaced nor counted."""
    config = EvalConfig(
        compute_ce_loss=True,
        n_eval_reconstruction_batches=-(-len(corpus) // batch_size),
        git_hash="not asked",
    )
    special = [subject.tokenizer.bos_token_id] if corpus.bos else False
    store = Batches(corpus, batch_size, subject.device)
    found, _ = run_evals(
        subject.sae_at(hook_name),
        store,
        subject.model,
        ActivationScaler(),
        config,
        exclude_special_tokens=special,
    )
    return found["model_performance_preservation"]


def products(
    subject: Subject, hook_names: Sequence[str], n_proxies: int, n_seq: int, n_ctx: int
) -> Counter[Shape]:
    """How often `collect` multiplies matrices of each shape for `n_seq` sequences in one batch."""
    config, rows = subject.model.original_model.config, n_seq * n_ctx
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


def product_seconds(shape: Shape, clock: Clock = time.perf_counter) -> float:
    """Mean time of one product; of a tall one a part is timed and scaled, since collect cuts the unembedding up as well."""
    batch, rows, inner, columns = shape
    some = min(rows, FLOOR_ROWS) if columns > 20 * inner else rows
    left, right, out = (
        torch.randn(batch, some, inner),
        torch.randn(batch, columns, inner).mT,
        torch.empty(batch, some, columns),
    )
    if batch == 1:
        left, right, out = left[0], right[0], out[0]
    torch.matmul(left, right, out=out)
    start, repeats, spent = clock(), 0, 0.0
    while repeats < FLOOR_REPEATS or spent < FLOOR_SECONDS:
        torch.matmul(left, right, out=out)
        repeats, spent = repeats + 1, clock() - start
    return spent / repeats * rows / some


@dataclass(frozen=True)
class Speeds:
    """Seconds per sequence of every way, means over the rounds."""

    collect: float
    """`collect` at the middle layer."""
    published: float
    """Two full forwards per proxy, at any one layer."""
    run_evals: float
    """Three full forwards of `sae_lens.run_evals`."""
    floor: float
    """The matrix products of `collect`."""
    layers: float
    """`collect_layers` at all hook points, in the last round only."""
    layers_floor: float
    """Its matrix products."""
    difference: float
    """Largest difference between the losses of `collect` and of the published way, in bits."""


def compare(
    subject: Subject,
    corpus: Corpus,
    *,
    rounds: int,
    batch_size: int,
    n_published: int,
    clock: Clock = time.perf_counter,
) -> Speeds:
    """Time every way in turn, `rounds` times, each time on new sequences of `corpus`; a first round on two sequences warms up.

    The corpus is cut into one part for each round, one to warm up and one for all layers.
    """
    n_seq = len(corpus) // (rounds + 2)
    hook_name, proxies = subject.middle_hook, six_proxies(subject, corpus, subject.middle_hook)
    one, every = (
        products(subject, names, len(proxies), batch_size, corpus.n_ctx)
        for names in ([hook_name], subject.hook_names)
    )
    seconds: dict[str, list[float]] = {}
    differences = []

    def timed(way: str, run: Callable[..., Any], sample: Corpus, *arguments: Any) -> Any:
        start = clock()
        result = run(subject, sample, *arguments)
        seconds.setdefault(way, []).append((clock() - start) / len(sample))
        return result

    for number in range(rounds + 1):
        sample = corpus.part(number * n_seq, (number + 1) * n_seq)
        sample, few = (
            (sample, sample.take(n_published)) if number else (sample.take(2), sample.take(2))
        )
        [found] = timed("collect", swept, sample, [hook_name], proxies, batch_size)
        slow = timed("published", published, few, hook_name, proxies)
        timed("run_evals", evaluated, sample, hook_name, batch_size)
        if not number:
            seconds.clear()
            continue
        differences += [
            np.abs(found.loss[name][0, : len(few)] - values).max() for name, values in slow.items()
        ]
        spent = {shape: product_seconds(shape, clock) for shape in one | every}
        for way, counts in (("floor", one), ("layers_floor", every)):
            seconds.setdefault(way, []).append(
                sum(n * spent[shape] for shape, n in counts.items()) / batch_size
            )
    fresh = corpus.part((rounds + 1) * n_seq, (rounds + 2) * n_seq)
    timed("layers", swept, fresh, subject.hook_names, proxies, batch_size)
    return Speeds(
        **{way: float(np.mean(values)) for way, values in seconds.items()},
        difference=float(max(differences)),
    )


def table(speeds: Speeds, n_ctx: int, n_hooks: int) -> list[str]:
    """One line a way: tokens per second, the same times proxies, and how much faster per proxy `collect` is."""
    one, every = N_PROXIES, N_PROXIES * n_hooks
    ways = [
        ("collect, one layer", speeds.collect, one, speeds.collect / one),
        ("  published way", speeds.published, one, speeds.collect / one),
        ("  run_evals of sae_lens", speeds.run_evals, 2, speeds.collect / one),
        ("  its products alone", speeds.floor, one, speeds.collect / one),
        (f"collect, {n_hooks} layers", speeds.layers, every, speeds.layers / every),
        ("  published way", speeds.published * n_hooks, every, speeds.layers / every),
        ("  its products alone", speeds.layers_floor, every, speeds.layers / every),
    ]
    lines = [f"{'':26s} proxies   tokens/s   proxy tokens/s   collect is"]
    for way, seconds, n_proxies, ours in ways:
        times = seconds / n_proxies / ours
        verdict = (
            ""
            if times == 1
            else f"{times:8.0%} of it"
            if "alone" in way
            else f"{times:8.2f} times as fast"
        )
        lines.append(
            f"{way:26s} {n_proxies:7d} {n_ctx / seconds:10,.1f} {n_proxies * n_ctx / seconds:16,.1f}   {verdict}"
        )
    return lines


@contextmanager
def unshared(folder: Path) -> Iterator[None]:
    """A cache of its own, and no sequences measured once more on their own: what is timed is what more sequences cost."""
    own_cache = mock.patch.dict(os.environ, SAECERT_CACHE=str(folder))
    with own_cache, mock.patch.object(losses, "N_ALONE", 0):
        yield


def peak_megabytes(model: str, n_seq: int, threads: int) -> float:
    """Memory that `collect` takes beyond a loaded subject, for random sequences in batches of 8; measured in a new process. Needs Linux."""
    with multiprocessing.get_context("spawn").Pool(1) as process:
        return process.apply(_peak_megabytes, (model, n_seq, threads))


def _peak_megabytes(model: str, n_seq: int, threads: int) -> float:
    torch.set_num_threads(threads)
    subject = load_subject(model)
    corpus = load_corpus("random-tokens", subject, n_seq=n_seq, n_ctx=N_CTX)
    proxies = six_proxies(subject, corpus, subject.middle_hook)
    with tempfile.TemporaryDirectory() as folder, unshared(Path(folder)):
        gc.collect()
        ctypes.CDLL(None).malloc_trim(
            0
        )  # what loading left to the allocator would be filled first, unseen
        before = psutil.Process().memory_info().rss
        Path("/proc/self/clear_refs").write_text(
            "5"
        )  # the peak starts anew: loading reaches higher than what stays
        swept(subject, corpus, [subject.middle_hook], proxies, 8)
    peak = next(
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM")
    )
    return int(peak.split()[1]) / 1024 - before / 2**20


def memory(folder: Path, sizes: Sequence[int], threads: int) -> list[str]:
    """Lines on memory: at two numbers of sequences, and with a vocabulary of 256,000."""
    wide = save_random(folder / "wide", WIDE, ["blocks.1.hook_resid_pre"], 1024)
    lines = ["Peak memory beyond the loaded subject, batches of 8 x 128 tokens"]
    for model, n_seq in (("docstring-6l", sizes[0]), ("docstring-6l", sizes[1]), (str(wide), 16)):
        title = model if model == "docstring-6l" else f"vocabulary of {WIDE.vocab_size:,}"
        lines.append(
            f"  {title:22s} {n_seq:6,d} sequences {peak_megabytes(model, n_seq, threads):7,.0f} MB"
        )
    return lines


def on_gpu(model: str | Path, n_seq: int, batch_size: int = 1024) -> str:
    """Speed with bfloat16 weights and float32 losses, in the largest batches that fit: halved until they do."""
    subject = load_subject(model, device="cuda", dtype=torch.bfloat16)
    first, second = (
        load_corpus("random-tokens", subject, n_seq=n_seq, n_ctx=N_CTX, seed=seed)
        for seed in (0, 1)
    )
    proxies = six_proxies(subject, first, subject.middle_hook)
    while True:
        try:
            swept(
                subject,
                first.take(min(batch_size, n_seq)),
                [subject.middle_hook],
                proxies,
                batch_size,
            )
            break
        except torch.cuda.OutOfMemoryError:
            batch_size //= 2
            torch.cuda.empty_cache()
    start = time.perf_counter()
    swept(subject, second, [subject.middle_hook], proxies, batch_size)
    speed = n_seq * N_CTX / (time.perf_counter() - start)
    return f"GPU, {subject.name}: {speed:,.0f} tokens/s, {N_PROXIES * speed:,.0f} proxy tokens/s in batches of {batch_size}"


def report(
    subject: Subject, corpus: Corpus, n_published: int, rounds: int, batch_size: int, clock: Clock
) -> None:
    """Measure one subject by `compare` and print it."""
    n_hooks, n_seq, load = len(subject.hook_names), len(corpus) // (rounds + 2), os.getloadavg()[0]
    speeds = compare(
        subject, corpus, rounds=rounds, batch_size=batch_size, n_published=n_published, clock=clock
    )
    timed = "processor time" if clock is time.process_time else "time"
    print(
        f"\n{subject.name}: {subject.n_layers} layers, d_model {subject.model.cfg.d_model}, vocabulary {subject.d_vocab:,}; one layer is "
        f"{subject.middle_hook}\n{rounds} rounds of {n_seq} x {N_CTX} tokens in batches of {batch_size}, {n_published} the published way; "
        f"{timed} of {torch.get_num_threads()} threads, load average {load:.1f} to {os.getloadavg()[0]:.1f}",
        *table(speeds, N_CTX, n_hooks),
        f"largest difference between the losses of collect and of the published way: {speeds.difference:.0e} bits",
        sep="\n",
        flush=True,
    )


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one round of fewer sequences, two layers of the large model",
    )
    parser.add_argument(
        "--busy",
        action="store_true",
        help="one thread and its processor time, for a machine with other work",
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--batch-size", type=int, default=8, help="sequences in a batch of the large model"
    )
    options = parser.parse_args()
    clock, threads = (
        (time.process_time, 1) if options.busy else (time.perf_counter, options.threads)
    )
    torch.set_num_threads(threads)
    rounds, batch_size, layers = (
        (1, 4, (5, 6)) if options.quick else (options.rounds, options.batch_size, range(12))
    )
    small = load_subject("docstring-6l")
    docstrings = load_corpus("docstrings", small, n_seq=48 * (3 * rounds + 2))
    with tempfile.TemporaryDirectory() as name, unshared(Path(name, "cache")):
        report(small, docstrings, 8, 3 * rounds, 16, clock)  # small rounds are noisy, and cheap
        folder = save_random(
            Path(name, "gpt2-size"),
            GPT2_SMALL,
            [f"blocks.{layer}.hook_resid_pre" for layer in layers],
            24_576,
        )
        large = load_subject(
            folder, sae=f"{folder}/saes/blocks.{{layer}}.hook_resid_pre"
        )  # from the first layer to the last
        report(
            large,
            load_corpus("random-tokens", large, n_seq=batch_size * (rounds + 2), n_ctx=N_CTX),
            2,
            rounds,
            batch_size,
            clock,
        )
        del large
        print(
            "",
            *memory(Path(name), (32, 128) if options.quick else (64, 512), threads),
            sep="\n",
            flush=True,
        )
        if torch.cuda.is_available():
            print("", *(on_gpu(model, 4096) for model in ("docstring-6l", folder)), sep="\n")
        else:
            print("\nGPU: not measured: no GPU")


if __name__ == "__main__":
    main()
