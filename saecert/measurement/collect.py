"""`collect`: measure a language model and its proxies on a corpus, in one pass, at one hook point or at several."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, UInt64
from sae_lens import BatchTopKTrainingSAE
from tqdm import tqdm

from saecert.corpora.corpus import Corpus
from saecert.corpora.duplicates import near_duplicates
from saecert.corpora.installed import train_windows
from saecert.measurement import proxies, saecheck, scoring
from saecert.measurement import survey as ranking
from saecert.measurement.identity import code_of, code_of_proxy, identity
from saecert.measurement.proxies import Proxy, Site, atom_norms
from saecert.measurement.references import fit_references
from saecert.measurement.scoring import score, smoothed_bits
from saecert.measurement.survey import Survey, check_ranking, survey_layers
from saecert.records import Discovery, SequenceLosses, smoothed_support
from saecert.storage import atomic_path, cache_dir, cached_arrays
from saecert.subjects import forward
from saecert.subjects.forward import clean_run, final_residual
from saecert.subjects.subject import Subject

POOL_SHARES = (1 / 8, 1 / 4, 1 / 2, 3 / 4)
"""Default pools, as shares of the dictionary."""
N_DISCOVERY = 500
"""Discovery sequences on which pools are tried (the survey of the latents uses them all)."""
N_ALONE = 4
"""Sequences measured once more in a batch of their own (assumption A3)."""
CHECKPOINT_SECONDS = 30
"""How much of a measurement a killed process may lose."""
HELD_BYTES = 1 << 30
"""Final residuals held before they are scored together against one clean softmax."""


def collect(
    subject: Subject,
    corpus: Corpus,
    hook_name: str | None = None,
    *,
    discovery: Corpus | None = None,
    pools: Sequence[int] | None = None,
    controls: bool = True,
    extra: Sequence[Proxy] = (),
    rank: str = "frequency",
    alphas: Sequence[float] = (0.5, 0.01),
    batch_size: int | None = None,
    allow_bad_sae: bool = False,
    progress: bool = True,
) -> SequenceLosses:
    """Losses of the LM and of every proxy on every sequence of `corpus`, ready for `certify`.

    The clean LM runs once per batch, what comes after the hook point once more per proxy; the clean predictions are made
    once and every proxy is scored against them. Cost in block forwards per token: ``L + n_proxies * L_after`` with L
    blocks in the LM and L_after behind the hook point (all L of them unless it is on the residual stream), and one
    unembedding each, and a look at four sequences first. Memory grows neither with the number of sequences nor with batch times vocabulary.

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
        it only the full SAE and zero ablation are measured, and there is nothing to choose a pool by. What it shares
        with the sample is marked in `overlap`.
    pools
        Sizes of the nested concept pools. Default: an eighth, a quarter, half and three quarters of the dictionary.
    controls
        Also measure mean and zero ablation of the hook point.
    extra
        More proxies. Give each a `key` if its function depends on anything but its own source.
    rank
        What latents are ranked by on the discovery split, most first: "frequency" (tokens on which each is active),
        "energy" (sum of squared activation times decoder norm) or "attribution" (first-order effect of removing it
        on the loss, measured on the first 200 sequences).
    alphas
        Smoothing weights in (0, 1) at which losses are recorded; costs nothing.
    batch_size
        Sequences per forward pass, 16 on a CPU and 64 on a GPU if not said; halved when a GPU's memory is too small. Does not change
        the results. A few sequences are measured once more on their own:
        ``provenance["batch_dependence"]`` is the largest change of a smoothed loss in bits.
    allow_bad_sae
        Measure an SAE that fails `saecert.measurement.saecheck.check_sae` on the first sequences of `discovery` (of `corpus` without it);
        what was found is recorded either way, in ``provenance["sae_check"]``.

    Raises
    ------
    ValueError
        SAE that explains less than 0.3 of the variance, or with not about as many active latents as its release lists; unknown
        hook point or ranking, SAE of another width than the activation, pool larger than the dictionary, alpha outside (0, 1),
        two proxies of one name, or losses that are not finite (names sequence and proxy).
    """
    hook_name = subject.middle_hook if hook_name is None else hook_name
    settings = {
        "discovery": discovery,
        "pools": pools,
        "controls": controls,
        "extra": extra,
        "rank": rank,
        "allow_bad_sae": allow_bad_sae,
    }
    return collect_layers(
        subject,
        corpus,
        [hook_name],
        **settings,
        alphas=alphas,
        batch_size=batch_size,
        progress=progress,
    )[hook_name]


def collect_layers(
    subject: Subject,
    corpus: Corpus,
    hook_names: Sequence[str] | None = None,
    *,
    discovery: Corpus | None = None,
    pools: Sequence[int] | None = None,
    controls: bool = True,
    extra: Sequence[Proxy] = (),
    rank: str = "frequency",
    alphas: Sequence[float] = (0.5, 0.01),
    batch_size: int | None = None,
    allow_bad_sae: bool = False,
    progress: bool = True,
) -> dict[str, SequenceLosses]:
    """`collect` at several hook points (default: all that have an SAE) with the shared work done once; losses by hook name.

    The clean LM runs once per batch, and its predictions are shared by all hook points. Cost in block forwards per token:
    ``L + n_proxies * sum(L_after)``, the sum over the hook points; `collect` at each of them in turn costs
    ``(n_hooks - 1) * L`` more. The survey of the latents costs ``L_last`` per discovery token, the blocks up to the last
    hook point. Each record is the one that `collect` returns, kept in the same files: what one has measured the other finds.
    Other parameters and errors are those of `collect`; sizes of pools, `rank` and `extra` apply to every hook point.
    """
    hook_names = tuple(dict.fromkeys(subject.hook_names if hook_names is None else hook_names))
    check_ranking(rank)
    if not hook_names:
        raise ValueError(
            f"no hook point given; there are SAEs at {', '.join(subject.saes) or 'none'}"
        )
    for hook_name in hook_names:
        subject.check_hook(hook_name)
        subject.sae_at(hook_name)
    for alpha in alphas:
        smoothed_support(alpha, subject.d_vocab)
    looks = {
        name: _cached_look(subject, corpus if discovery is None else discovery, name, allow_bad_sae)
        for name in hook_names
    }
    settings = {
        "batch_size": batch_size or (64 if subject.device.type == "cuda" else 16),
        "progress": progress,
    }
    looking = settings | {"batch_size": min(settings["batch_size"], 16)}
    found = {} if discovery is None else _surveys(subject, discovery, hook_names, rank, **looking)
    pooled, chosen = {}, {}
    for name in hook_names:
        pooled[name] = [proxies.full(), *(_pools(found[name], rank, pools) if found else [])]
        dense = (
            [*([proxies.mean_ablation(found[name].mean)] if found else []), proxies.zero_ablation()]
            if controls
            else []
        )
        chosen[name] = [*pooled[name], *dense, *extra]
    alphas = tuple(map(float, alphas))
    similar = _cached_similar(corpus)
    losses = sweep(subject, corpus, chosen, alphas=alphas, **settings)
    for name, one in losses.items():
        losses[name] = replace(
            one, similar=similar, provenance=one.provenance | {"sae_check": looks[name]}
        )
    if discovery is None:
        return losses
    tried = sweep(
        subject, discovery.take(min(N_DISCOVERY, len(discovery))), pooled, alphas=alphas, **settings
    )
    for name, one in found.items():
        fixed = Discovery(rank, one.ranking(rank), one.sequence_count, one.n_seq, tried[name])
        provenance = losses[name].provenance | {
            "l0": one.l0,
            "explained_variance": 1 - one.fvu,
            "silent": one.silent,
        }
        losses[name] = replace(
            losses[name],
            discovery=fixed,
            overlap=_overlap(corpus, discovery),
            provenance=provenance,
        )
    return _with_references(losses, subject, corpus, discovery)


def _pools(found: Survey, rank: str, sizes: Sequence[int] | None) -> list[Proxy]:
    d_sae = len(found.token_count)
    sizes = [round(share * d_sae) for share in POOL_SHARES] if sizes is None else sizes
    if outside := [k for k in sizes if not 0 < k <= d_sae]:
        raise ValueError(
            f"a pool of {outside[0]} latents does not fit a dictionary of {d_sae}: sizes go from 1 to {d_sae}"
        )
    return [proxies.pool(found.ranking(rank)[:k], d_sae) for k in sorted(set(sizes)) if k != d_sae]


def _surveys(
    subject: Subject, corpus: Corpus, hook_names: Sequence[str], rank: str, **settings: Any
) -> dict[str, Survey]:
    """Cached surveys; when one is missing all are made in one pass. With attributions where latents are ranked by them."""
    measure = cache(lambda: survey_layers(subject, corpus, hook_names, **settings))
    code = code_of(forward, atom_norms, ranking)

    def build(hook_name: str) -> dict[str, np.ndarray]:
        return {
            name: np.asarray(value)
            for name, value in vars(measure()[hook_name]).items()
            if value is not None
        }

    found = {}
    for hook_name in hook_names:
        key = identity(subject, corpus, hook_name, code)
        saved = cached_arrays("survey", key, lambda hook_name=hook_name: build(hook_name))
        values = {name: value if value.ndim else value.item() for name, value in saved.items()}
        found[hook_name] = Survey(**values | {"mean": torch.from_numpy(saved["mean"])})
        if rank == "attribution":
            found[hook_name] = replace(
                found[hook_name],
                attribution=_cached_attribution(subject, corpus, hook_name, **settings),
            )
    return found


def _cached_attribution(
    subject: Subject, corpus: Corpus, hook_name: str, **settings: Any
) -> np.ndarray:
    some = corpus.take(min(ranking.N_ATTRIBUTION, len(corpus)))
    key = identity(subject, some, hook_name, code_of(forward, Site, scoring, ranking))
    return cached_arrays(
        "attribution",
        key,
        lambda: {"sum": ranking.attribution(subject, some, hook_name, **settings)},
    )["sum"]


def _cached_look(
    subject: Subject, corpus: Corpus, hook_name: str, allow_bad_sae: bool
) -> dict[str, Any]:
    def build() -> dict[str, np.ndarray]:
        return {
            "facts": np.array(
                json.dumps(saecheck.check_sae(subject, corpus, hook_name, allow_bad_sae=True))
            )
        }

    key = identity(
        subject,
        corpus,
        hook_name,
        dict(subject.listed.get(hook_name, {})),
        code_of(forward, saecheck),
    )
    facts = json.loads(str(cached_arrays("look", key, build)["facts"]))
    if facts["problem"] and not allow_bad_sae:
        raise ValueError(facts["problem"])
    return facts


def _cached_similar(corpus: Corpus) -> UInt64[np.ndarray, "n_seq"]:
    key = corpus.ids.tobytes().hex() + code_of(near_duplicates)
    return cached_arrays(
        "similar", key, lambda: {"ids": near_duplicates(corpus.tokens, corpus.ids)}
    )["ids"]


def _documents(corpus: Corpus) -> UInt64[np.ndarray, "n_seq"]:
    return np.array(
        [int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") for key in corpus.keys],
        dtype=np.uint64,
    )


def _overlap(corpus: Corpus, discovery: Corpus) -> Bool[np.ndarray, "n_seq"]:
    return np.isin(corpus.ids, discovery.ids) | np.isin(_documents(corpus), _documents(discovery))


def sweep(
    subject: Subject,
    corpus: Corpus,
    chosen: Mapping[str, Sequence[Proxy]],
    *,
    alphas: tuple[float, ...],
    batch_size: int,
    progress: bool,
) -> dict[str, SequenceLosses]:
    """Losses of the LM and of the proxies `chosen` at each hook point, cached and resumable; `collect` without its choices."""
    files = {
        hook_name: _open(subject, corpus, hook_name, some, alphas)
        for hook_name, some in chosen.items()
    }
    ids, n_seq, touched = corpus.ids, len(corpus), set()
    done = min(int(arrays["done"]) for _, arrays in files.values())
    title = f"{subject.name} {' '.join(chosen)} x{1 + sum(map(len, chosen.values()))}"
    bar = tqdm(
        total=n_seq, initial=done, desc=title, unit="seq", disable=not progress or done == n_seq
    )
    try:
        saved = time.monotonic()
        while done < n_seq:
            rows = slice(done, min(done + batch_size, n_seq))
            todo = {
                hook_name: some
                for hook_name, some in chosen.items()
                if files[hook_name][1]["done"] < rows.stop
            }
            try:
                found = _measure(subject, corpus, todo, alphas, ids, rows)
            except torch.OutOfMemoryError:
                found = None
            if (
                found is None
            ):  # outside of the handler, where nothing holds on to that memory any more
                torch.cuda.empty_cache()
                if batch_size == 1:
                    raise MemoryError(
                        "not one sequence fits into memory: fewer proxies at once, shorter sequences or dtype=torch.bfloat16"
                    )
                batch_size //= 2
                continue
            for hook_name, measured in found.items():
                arrays = files[hook_name][1]
                for name, values in measured.items():
                    arrays[name][rows] = values
                arrays["done"][...] = rows.stop
                touched.add(hook_name)
            done = rows.stop
            bar.update(rows.stop - rows.start)
            if time.monotonic() - saved > CHECKPOINT_SECONDS:
                _save_progress(files, touched)
                saved = time.monotonic()
        touched |= _compare_alone(subject, corpus, chosen, alphas, ids, files)
    finally:
        _save_progress(files, touched)
        bar.close()
    return {
        hook_name: _record(subject, corpus, hook_name, some, alphas, files[hook_name][1])
        for hook_name, some in chosen.items()
    }


_Files = dict[str, tuple[Path, dict[str, np.ndarray]]]  # by hook point, rows are sequences


def _open(
    subject: Subject,
    corpus: Corpus,
    hook_name: str,
    chosen: Sequence[Proxy],
    alphas: tuple[float, ...],
) -> tuple[Path, dict]:
    """Where a hook point's measurements are kept, and those there are."""
    names = ["clean", *(proxy.name for proxy in chosen)]
    if len(set(names)) != len(names):
        raise ValueError(
            f"two proxies have the same name: {', '.join(sorted(n for n in set(names) if names.count(n) > 1))}"
        )
    code = code_of(
        forward, Site, atom_norms, proxies._generators, scoring, _measure, _firings, _summary
    )
    key = identity(
        subject, corpus, hook_name, code, names, list(map(code_of_proxy, chosen)), alphas
    )
    path, n_seq = cache_dir() / f"sweep-{key}.npz", len(corpus)
    if path.exists():
        with np.load(path) as saved:
            return path, dict(saved)
    arrays = {f"loss/{name}": np.empty((n_seq, len(alphas) + 3)) for name in names}
    arrays |= {
        f"outside/{proxy.name}": np.zeros((n_seq, 2)) for proxy in chosen if proxy.kept is not None
    }
    d_sae = subject.sae_at(hook_name).cfg.d_sae
    arrays |= {
        "active": np.zeros((n_seq, -(-d_sae // 8)), np.uint8),
        "l0": np.zeros((n_seq, corpus.n_ctx), np.int32),
    }
    return path, arrays | {"done": np.array(0), "alone": np.array(np.nan)}


def _save_progress(files: _Files, touched: set[str]) -> None:
    for path, arrays in (files[hook_name] for hook_name in touched):
        with atomic_path(path) as partial:
            np.savez(partial, **arrays)
    touched.clear()


def _measure(subject, corpus, chosen, alphas, ids, rows) -> dict[str, dict[str, np.ndarray]]:
    """All that is recorded of one batch, by hook point, rows first."""
    tokens = torch.from_numpy(corpus.tokens[rows].astype(np.int64)).to(subject.device)
    acts, clean = clean_run(subject.model, tokens, list(chosen))
    measured, held = {}, {}
    for hook_name, some in chosen.items():
        site = Site(acts.pop(hook_name), subject.sae_at(hook_name), ids[rows], int(corpus.bos))
        if (width := site.acts.shape[-1]) != (d_in := site.sae.cfg.d_in):
            raise ValueError(
                f"the SAE at '{hook_name}' has d_in={d_in} but the activation there has width {width}: another model's SAE?"
            )
        with torch.no_grad():
            measured[hook_name] = _firings(site, some)
            for proxy in some:
                held[hook_name, proxy.name] = final_residual(
                    subject.model, tokens, hook_name, site.splice(proxy.replace(site))
                )
        if not acts or sum(residual.nbytes for residual in held.values()) > HELD_BYTES:
            for key, values in score(subject.model, {"clean": clean, **held}, tokens).items():
                where, name = (hook_name, "clean") if key == "clean" else key
                measured[where][f"loss/{name}"] = _summary(
                    values, alphas, subject.d_vocab, name, rows.start
                )
            held.clear()
    for one in measured.values():
        one["loss/clean"] = measured[hook_name]["loss/clean"]
    return measured


def _firings(site: Site, chosen: Sequence[Proxy]) -> dict[str, np.ndarray]:
    """What the latents do in each sequence, and for each pool the shares of firings and of energy that are outside it."""
    n_seq, n_pos, d_sae = site.latents.shape
    spliced = site.active[0] % n_pos >= site.first
    position, latent, activation = (values[spliced] for values in site.active)
    counted = partial(torch.bincount, position // n_pos * d_sae + latent, minlength=n_seq * d_sae)
    written = activation.double() * atom_norms(site.sae).double()[latent]
    counts, energy = (
        counted(weights=weights).double().view(n_seq, d_sae) for weights in (None, written.square())
    )
    found = {
        "active": np.packbits((counts > 0).cpu().numpy(), axis=1),
        "l0": torch.bincount(position, minlength=n_seq * n_pos).view(n_seq, n_pos).cpu().numpy(),
    }
    for proxy in (proxy for proxy in chosen if proxy.kept is not None):
        outside = 1 - proxy.kept.to(counts)
        shares = [
            (values @ outside) / values.sum(dim=1).clamp_min(torch.finfo(torch.float64).tiny)
            for values in (counts, energy)
        ]
        found[f"outside/{proxy.name}"] = torch.stack(shares, dim=1).cpu().numpy()
    return found


def _summary(
    values: np.ndarray, alphas: tuple[float, ...], n_vocab: int, name: str, start: int
) -> np.ndarray:
    """By sequence: smoothed losses at all alphas, raw loss, total variation and top-1 disagreement, means over positions."""
    probability, variation, disagree = values
    if not np.isfinite(probability).all():
        bad = start + int(np.argmax(~np.isfinite(probability).all(axis=1)))
        raise ValueError(
            f"the loss of '{name}' on sequence {bad} is not finite: NaN or infinite weights or activations?"
        )
    floor = np.finfo(
        np.float32
    ).tiny  # raw losses stay finite when float32 rounds a probability to zero
    smoothed = [smoothed_bits(probability, alpha, n_vocab) for alpha in alphas]
    columns = [*smoothed, -np.log2(np.maximum(probability, floor)), variation, disagree]
    return np.stack([column.mean(axis=1) for column in columns], axis=1)


def _compare_alone(subject, corpus, chosen, alphas, ids, files: _Files) -> set[str]:
    """Measure a few sequences once more, each on its own, at hook points where this was not done: which those were."""
    todo = {
        hook_name: some
        for hook_name, some in chosen.items()
        if np.isnan(files[hook_name][1]["alone"])
    }
    changes: dict[str, list[float]] = {hook_name: [] for hook_name in todo}
    for row in (
        np.unique(np.linspace(0, len(corpus) - 1, N_ALONE).astype(int)).tolist() if todo else []
    ):
        for hook_name, measured in _measure(
            subject, corpus, todo, alphas, ids, slice(row, row + 1)
        ).items():
            batched = files[hook_name][1]
            differences = [
                values - batched[name][[row]]
                for name, values in measured.items()
                if name.startswith("loss/")
            ]
            changes[hook_name].append(
                float(np.abs(np.concatenate(differences)[:, : len(alphas)]).max())
            )
    for hook_name, found in changes.items():
        files[hook_name][1]["alone"][...] = max(found)
    return set(todo)


def _record(
    subject: Subject,
    corpus: Corpus,
    hook_name: str,
    chosen: Sequence[Proxy],
    alphas: tuple[float, ...],
    arrays: dict[str, np.ndarray],
) -> SequenceLosses:
    n, names = len(alphas), [proxy.name for proxy in chosen]
    outside = {
        proxy.name: arrays[f"outside/{proxy.name}"].clip(0, 1)
        for proxy in chosen
        if proxy.kept is not None
    }
    return SequenceLosses(
        alphas=alphas,
        n_vocab=subject.d_vocab,
        loss={name: arrays[f"loss/{name}"][:, :n].T for name in ("clean", *names)},
        raw={name: arrays[f"loss/{name}"][:, n] for name in ("clean", *names)},
        total_variation={name: arrays[f"loss/{name}"][:, n + 1].clip(0, 1) for name in names},
        top1_disagreement={name: arrays[f"loss/{name}"][:, n + 2] for name in names},
        outside_firings={name: shares[:, 0] for name, shares in outside.items()},
        outside_energy={name: shares[:, 1] for name, shares in outside.items()},
        active=arrays["active"],
        d_sae=subject.sae_at(hook_name).cfg.d_sae,
        l0=arrays["l0"],
        ids=corpus.ids,
        documents=_documents(corpus),
        provenance=_provenance(subject, corpus, hook_name)
        | {"batch_dependence": round(float(arrays["alone"]), 6)},
    )


def _provenance(subject: Subject, corpus: Corpus, hook_name: str) -> dict:
    sae = subject.sae_at(hook_name)
    return {
        "subject": subject.name,
        "source": subject.source,
        "model_sha256": subject.fingerprint,
        "processing": subject.processing,
        "pretraining": subject.pretraining,
        "hook_name": hook_name,
        "sae_sha256": subject.sae_fingerprint(hook_name),
        "sae_architecture": sae.cfg.architecture(),
        "sae_training": subject.sae_training,
        "sae_context": subject.context,
        "sae_listed": dict(subject.listed.get(hook_name, {})),
        "batch_threshold": isinstance(sae, BatchTopKTrainingSAE),
        "corpus": corpus.name,
        "split": corpus.split,
        "corpus_sha256": hashlib.sha256(corpus.tokens.astype(np.int64).tobytes()).hexdigest(),
        "population": corpus.population,
        "n_ctx": corpus.n_ctx,
        "bos": corpus.bos,
        "n_too_short": corpus.n_too_short,
        "n_similar": corpus.n_similar,
        "notes": list(corpus.notes),
        "dtype": str(next(subject.model.original_model.parameters()).dtype).removeprefix("torch."),
        "versions": {
            name: metadata.version(name).split("+")[0]
            for name in ("torch", "transformer_lens", "sae_lens", "transformers", "numpy")
        },
    }


def _with_references(
    losses: dict[str, SequenceLosses], subject: Subject, corpus: Corpus, discovery: Corpus
) -> dict[str, SequenceLosses]:
    """The same records with the reference predictors' losses, which no hook point changes."""
    shipped = bool(subject.card) and corpus.name == "docstrings"
    tokens, lengths = train_windows(subject) if shipped else (discovery.tokens, None)
    fitted = fit_references(tokens, subject.d_vocab, lengths)
    alphas, limits, loss, raw, support = (
        next(iter(losses.values())).alphas,
        fitted.limits(),
        {},
        {},
        {},
    )
    for name, probability in fitted.probabilities(corpus.tokens).items():
        loss[name] = np.stack(
            [smoothed_bits(probability, alpha, subject.d_vocab).mean(axis=1) for alpha in alphas]
        )
        raw[name] = smoothed_bits(probability, 0.0, subject.d_vocab).mean(axis=1)
        ends = np.array(limits[name])[::-1]  # the largest probability has the smallest loss
        support[name] = tuple(
            tuple(smoothed_bits(ends, alpha, subject.d_vocab).tolist()) for alpha in alphas
        )
    fact = {
        "references": f"fitted on {fitted.n_tokens} tokens of the {'train' if shipped else 'discovery'} split"
    }
    return {
        hook_name: replace(
            one,
            loss=one.loss | loss,
            raw=one.raw | raw,
            reference_support=support,
            provenance=one.provenance | fact,
        )
        for hook_name, one in losses.items()
    }
