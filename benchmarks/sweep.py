"""Time and memory of `collect` against two full forwards per proxy at batch size 1, on the shipped subject.

    python benchmarks/sweep.py [--n-seq 500] [--baseline-seq 40] [--threads 2]

Both do the same work: six proxies (full, three pools, mean and zero ablation) at the middle layer, smoothed losses per
sequence. The baseline runs the model clean and spliced for every proxy and sequence, with a softmax over the whole vocabulary
each time, as the published scripts do; it is timed on fewer sequences and scaled. Losses of both are compared.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time

import numpy as np
import torch

from saecert import load_corpus, load_subject, losses
from saecert.pools import survey
from saecert.proxies import Site, full, mean_ablation, pool, zero_ablation


def baseline(subject, corpus, hook_name, proxies) -> dict[str, np.ndarray]:
    """Smoothed losses (n_seq,) by proxy: batch size 1, two full forwards a sequence and proxy, whole softmax."""
    found = {proxy.name: [] for proxy in proxies}
    sae, floor = subject.sae_at(hook_name), 0.5 / subject.d_vocab
    for row, ident in zip(corpus.tokens, corpus.ids, strict=True):
        tokens = torch.from_numpy(row[None].astype(np.int64))
        for proxy in proxies:
            acts = []
            subject.model.run_with_hooks(tokens, fwd_hooks=[(hook_name, lambda a, hook, seen=acts: seen.append(a))]).softmax(-1)
            spliced = proxy.replace(Site(acts[0], sae, np.array([ident])))
            spliced[:, 0] = acts[0][:, 0]
            probs = subject.model.run_with_hooks(tokens, fwd_hooks=[(hook_name, lambda a, hook, new=spliced: new)]).softmax(-1)
            target = probs[0, :-1].gather(1, tokens[0, 1:, None])[:, 0].double()
            found[proxy.name].append(-torch.log2(0.5 * target + floor).mean().item())
    return {name: np.array(values) for name, values in found.items()}


@torch.no_grad()
def main() -> None:
    """Measure both and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-seq", type=int, default=500)
    parser.add_argument("--baseline-seq", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    subject = load_subject("docstring-6l")
    hook_name, corpus = subject.middle_hook, load_corpus("docstrings", subject, n_seq=options.n_seq)
    found = survey(subject, load_corpus("docstrings", subject, split="discovery", n_seq=200), hook_name, progress=False)
    d_sae = subject.sae_at(hook_name).cfg.d_sae
    pools = [pool(found.ranking()[: d_sae // share], d_sae) for share in (8, 4, 2)]
    proxies = [full(), *pools, mean_ablation(found.mean), zero_ablation()]
    few = corpus.take(options.baseline_seq)
    baseline(subject, corpus.take(2), hook_name, proxies)  # warm up

    start = time.perf_counter()
    slow = baseline(subject, few, hook_name, proxies)
    per_seq = (time.perf_counter() - start) / len(few)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start = time.perf_counter()
    fast = losses.sweep(subject, corpus, {hook_name: proxies}, alphas=(0.5,), batch_size=16, progress=False)[hook_name]
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    worst = max(np.abs(fast.loss[name][0, : len(few)] - values).max() for name, values in slow.items())
    tokens = len(corpus) * corpus.n_ctx
    print(f"{len(corpus)} sequences of {corpus.n_ctx} tokens, {len(proxies)} proxies at {hook_name}, {options.threads} threads")
    print(f"  collect    {seconds:7.1f} s   {tokens / seconds:8,.0f} tokens/s   {len(proxies) * tokens / seconds:8,.0f} proxy tokens/s")
    print(f"  batch 1    {per_seq * len(corpus):7.1f} s   (two full forwards a proxy, {len(few)} sequences timed)")
    print(
        f"  ratio      {per_seq * len(corpus) / seconds:7.1f}     peak memory {peak:,.0f} MB, "
        f"{peak - before:,.0f} MB above that of the baseline"
    )
    print(f"  largest difference between the two: {worst:.1e} bits")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        losses.cache_dir = lambda: losses.Path(folder)  # nothing cached is timed
        main()
