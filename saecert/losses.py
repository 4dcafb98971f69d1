"""`collect`: measure a language model and its proxies on a corpus, in one pass."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from saecert import proxies
from saecert.corpora import Corpus, train_windows
from saecert.forward import final_residual, native_acts
from saecert.pools import Survey, survey
from saecert.proxies import Proxy, Site
from saecert.records import Discovery, SequenceLosses, smoothed_support
from saecert.references import fit_references
from saecert.scoring import score, smoothed_bits
from saecert.storage import atomic_path, cache_dir, cached_arrays
from saecert.subjects import Subject

POOL_SHARES = (1 / 8, 1 / 4, 1 / 2, 3 / 4)
"""Default pools, as shares of the dictionary."""
N_DISCOVERY = 500
"""Discovery sequences on which pools are tried (the survey of the latents uses them all)."""
CHECKPOINT_BATCHES = 50


def collect(
    subject: Subject,
    corpus: Corpus,
    hook_name: str | None = None,
    *,
    discovery: Corpus | None = None,
    pools: Sequence[int] | None = None,
    controls: bool = True,
    extra: Sequence[Proxy] = (),
    alphas: Sequence[float] = (0.5, 0.01),
    batch_size: int = 16,
    progress: bool = True,
) -> SequenceLosses:
    """Losses of the LM and of every proxy on every sequence of `corpus`, ready for `certify`.

    The blocks before the hook point run once per batch, those after it once per proxy; the clean predictions are made
    once and every proxy is scored against them. Cost: ``L_before + (1 + n_proxies) * (L_after + unembedding)`` block
    forwards per token. Memory grows neither with the number of sequences nor with batch times vocabulary.

    Results are kept in the cache folder under a hash of everything that determines them: an interrupted call (Ctrl-C)
    keeps what it measured and the same call goes on from there; a finished one returns at once.

    Parameters
    ----------
    subject, corpus
        The LM with its SAEs, and the certification sample.
    hook_name
        Hook point of the SAE to certify. Default: the middle one.
    discovery
        Another split of the same population, on which latents are ranked, pools tried and references fitted. Without
        it only the full SAE and zero ablation are measured, and there is nothing to choose a pool by.
    pools
        Sizes of the nested concept pools. Default: an eighth, a quarter, half and three quarters of the dictionary.
    controls
        Also measure mean and zero ablation of the hook point.
    extra
        More proxies. Give each a `key` if its function depends on anything but its own source.
    alphas
        Smoothing weights in (0, 1) at which losses are recorded; costs nothing.
    batch_size
        Sequences per forward pass; does not change the results.

    Raises
    ------
    ValueError
        Unknown hook point, SAE of another width than the activation, pool larger than the dictionary, alpha outside
        (0, 1), two proxies of one name, or losses that are not finite (names sequence and proxy).
    """
    hook_name = subject.middle_hook if hook_name is None else hook_name
    subject.check_hook(hook_name)
    sae = subject.sae_at(hook_name)
    for alpha in alphas:
        smoothed_support(alpha, subject.d_vocab)
    if discovery is not None and (set(discovery.keys) & set(corpus.keys) or np.isin(discovery.ids, corpus.ids).any()):
        raise ValueError("discovery and certification share documents or sequences: choices made on one would be tested on the same text")
    chosen, found = [proxies.full()], None
    if discovery is not None:
        found = _cached_survey(subject, discovery, hook_name, batch_size, progress)
        sizes = [round(share * sae.cfg.d_sae) for share in POOL_SHARES] if pools is None else pools
        chosen += [proxies.pool(found.order[: _size(k, sae.cfg.d_sae)], sae.cfg.d_sae) for k in sorted(set(sizes)) if k != sae.cfg.d_sae]
    pooled = list(chosen)
    if controls:
        chosen += ([proxies.mean_ablation(found.mean)] if found else []) + [proxies.zero_ablation()]
    chosen += list(extra)
    settings = {"alphas": tuple(map(float, alphas)), "batch_size": batch_size, "progress": progress}
    losses = sweep(subject, corpus, hook_name, chosen, **settings)
    if found is None:
        return losses
    tried = sweep(subject, discovery.take(min(N_DISCOVERY, len(discovery))), hook_name, pooled, **settings)
    fixed = Discovery("frequency", found.order, found.sequence_count, found.n_seq, tried)
    return _with_references(replace(losses, discovery=fixed), subject, corpus, discovery, found)


def _size(k: int, d_sae: int) -> int:
    if not 0 < k <= d_sae:
        raise ValueError(f"a pool of {k} latents does not fit a dictionary of {d_sae}: sizes go from 1 to {d_sae}")
    return k


def _cached_survey(subject: Subject, corpus: Corpus, hook_name: str, batch_size: int, progress: bool) -> Survey:
    def build() -> dict[str, np.ndarray]:
        found = vars(survey(subject, corpus, hook_name, batch_size=batch_size, progress=progress))
        return {name: np.asarray(value) for name, value in found.items()}

    saved = cached_arrays("survey", _identity(subject, corpus, hook_name), build)
    return Survey(
        **{name: value if value.ndim else value.item() for name, value in saved.items()} | {"mean": torch.from_numpy(saved["mean"])}
    )


def _identity(subject: Subject, corpus: Corpus, hook_name: str, *more: object) -> str:
    """Hash of all that determines a measurement, the measuring code included."""
    code = [Path(__file__).with_name(f"{module}.py").read_text() for module in ("forward", "losses", "pools", "proxies", "scoring")]
    machine = torch.backends.cpu.get_cpu_capability()  # losses differ in the last digits between instruction sets
    parts = [subject.fingerprint, subject.sae_fingerprint(hook_name), hook_name, corpus.ids.tobytes().hex(), machine, *more, *code]
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:24]


def _code_of(proxy: Proxy) -> str:
    # a function edited in a notebook keeps its name: its source tells the two apart
    try:
        return inspect.getsource(proxy.replace)
    except (OSError, TypeError):
        return ""


def sweep(
    subject: Subject, corpus: Corpus, hook_name: str, chosen: Sequence[Proxy], *, alphas: tuple[float, ...], batch_size: int, progress: bool
) -> SequenceLosses:
    """Losses of the LM and of the proxies in `chosen` on `corpus`, cached and resumable; `collect` without its choices."""
    names = ["clean", *(proxy.name for proxy in chosen)]
    if len(set(names)) != len(names):
        raise ValueError(f"two proxies have the same name: {', '.join(sorted(n for n in set(names) if names.count(n) > 1))}")
    d_sae, ids = subject.sae_at(hook_name).cfg.d_sae, corpus.ids
    arrays = {name: np.empty((len(alphas) + 3, len(corpus))) for name in names}  # smoothed losses; raw; total variation; top-1
    arrays |= {"active": np.zeros((len(corpus), -(-d_sae // 8)), np.uint8), "l0": np.zeros((len(corpus), corpus.n_ctx), np.int32)}
    path = cache_dir() / f"sweep-{_identity(subject, corpus, hook_name, names, [_code_of(p) + p.key for p in chosen], alphas)}.npz"
    done = _resume(path, arrays)
    starts = range(done, len(corpus), batch_size)
    bar = tqdm(
        total=len(corpus), initial=done, desc=f"{subject.name} {hook_name} x{len(names)}", unit="seq", disable=not progress or not starts
    )
    try:
        for number, start in enumerate(starts, 1):
            rows = slice(start, min(start + batch_size, len(corpus)))
            _measure(subject, corpus, hook_name, chosen, alphas, ids[rows], rows, arrays)
            done = rows.stop
            bar.update(rows.stop - rows.start)
            if number % CHECKPOINT_BATCHES == 0:
                _save_progress(path, arrays, done)
    finally:
        if starts and done > starts.start:
            _save_progress(path, arrays, done)
        bar.close()
    return _record(subject, corpus, hook_name, names, alphas, arrays)


def _measure(subject, corpus, hook_name, chosen, alphas, ids, rows, arrays) -> None:
    """Fill `rows` of `arrays` from one batch."""
    tokens = torch.from_numpy(corpus.tokens[rows].astype(np.int64)).to(subject.device)
    acts, sae = native_acts(subject.model, tokens, hook_name), subject.sae_at(hook_name)
    if acts.shape[-1] != sae.cfg.d_in:
        raise ValueError(
            f"the SAE at '{hook_name}' has d_in={sae.cfg.d_in} but the activation there has width {acts.shape[-1]}: another model's SAE?"
        )
    site, first = Site(acts, sae, ids), int(corpus.bos)
    with torch.no_grad():
        on = site.latents[:, first:] != 0
        arrays["l0"][rows, first:] = on.sum(dim=-1).cpu().numpy()
        arrays["active"][rows] = np.packbits(on.any(dim=1).cpu().numpy(), axis=1)
        residuals = {"clean": final_residual(subject.model, tokens, hook_name, acts)}
        for proxy in chosen:
            spliced = proxy.replace(site)
            spliced = torch.cat([acts[:, :first], spliced[:, first:]], dim=1)  # BOS keeps its native activation
            residuals[proxy.name] = final_residual(subject.model, tokens, hook_name, spliced)
    for name, (probability, variation, disagree) in score(subject.model, residuals, tokens).items():
        if not np.isfinite(probability).all():
            bad = rows.start + int(np.argmax(~np.isfinite(probability).all(axis=1)))
            raise ValueError(f"the loss of '{name}' on sequence {bad} is not finite: NaN or infinite weights or activations?")
        floor = np.finfo(np.float32).tiny  # raw losses stay finite when float32 rounds a probability to zero
        measured = [smoothed_bits(probability, alpha, subject.d_vocab) for alpha in alphas] + [
            -np.log2(np.maximum(probability, floor)),
            variation,
            disagree,
        ]
        arrays[name][:, rows] = np.stack([values.mean(axis=1) for values in measured])


def _resume(path: Path, arrays: dict[str, np.ndarray]) -> int:
    if not path.exists():
        return 0
    with np.load(path) as saved:
        for name, values in arrays.items():
            values[...] = saved[name]
        return int(saved["done"])


def _save_progress(path: Path, arrays: dict[str, np.ndarray], done: int) -> None:
    with atomic_path(path) as partial:
        np.savez(partial, done=done, **arrays)


def _record(
    subject: Subject, corpus: Corpus, hook_name: str, names: list[str], alphas: tuple[float, ...], arrays: dict[str, np.ndarray]
) -> SequenceLosses:
    n = len(alphas)
    return SequenceLosses(
        alphas=alphas,
        n_vocab=subject.d_vocab,
        loss={name: arrays[name][:n] for name in names},
        raw={name: arrays[name][n] for name in names},
        total_variation={name: arrays[name][n + 1].clip(0, 1) for name in names[1:]},
        top1_disagreement={name: arrays[name][n + 2] for name in names[1:]},
        outside_firings={},
        outside_energy={},
        active=arrays["active"],
        d_sae=subject.sae_at(hook_name).cfg.d_sae,
        l0=arrays["l0"],
        ids=corpus.ids,
        provenance=_provenance(subject, corpus, hook_name),
    )


def _provenance(subject: Subject, corpus: Corpus, hook_name: str) -> dict:
    sae = subject.sae_at(hook_name)
    return {
        "subject": subject.name,
        "model_sha256": subject.fingerprint,
        "processing": subject.processing,
        "hook_name": hook_name,
        "sae_sha256": subject.sae_fingerprint(hook_name),
        "sae_architecture": sae.cfg.architecture(),
        "corpus": corpus.name,
        "split": corpus.split,
        "corpus_sha256": hashlib.sha256(corpus.tokens.astype(np.int64).tobytes()).hexdigest(),
        "population": corpus.population,
        "n_ctx": corpus.n_ctx,
        "bos": corpus.bos,
        "n_too_short": corpus.n_too_short,
        "notes": list(corpus.notes),
        "dtype": str(next(subject.model.original_model.parameters()).dtype).removeprefix("torch."),
        "versions": {
            name: metadata.version(name).split("+")[0] for name in ("torch", "transformer_lens", "sae_lens", "transformers", "numpy")
        },
    }


def _with_references(losses: SequenceLosses, subject: Subject, corpus: Corpus, discovery: Corpus, found: Survey) -> SequenceLosses:
    shipped = bool(subject.card) and corpus.name == "docstrings"
    tokens, lengths = train_windows(subject) if shipped else (discovery.tokens, None)
    fitted = fit_references(tokens, subject.d_vocab, lengths)
    loss, raw, support = dict(losses.loss), dict(losses.raw), {}
    limits = fitted.limits()
    for name, probability in fitted.probabilities(corpus.tokens).items():
        loss[name] = np.stack([smoothed_bits(probability, alpha, subject.d_vocab).mean(axis=1) for alpha in losses.alphas])
        raw[name] = smoothed_bits(probability, 0.0, subject.d_vocab).mean(axis=1)
        ends = np.array(limits[name])[::-1]  # the largest probability has the smallest loss
        support[name] = tuple(tuple(smoothed_bits(ends, alpha, subject.d_vocab).tolist()) for alpha in losses.alphas)
    facts = {
        "references": f"fitted on {fitted.n_tokens} tokens of the {'train' if shipped else 'discovery'} split",
        "l0": found.l0,
        "explained_variance": 1 - found.fvu,
        "silent": found.silent,
    }
    return replace(losses, loss=loss, raw=raw, reference_support=support, provenance={**losses.provenance, **facts})
