"""One text of a reader's own, token by token: what the model loses there, and what a pool does."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Shaped

from saecert.corpora.corpus import Corpus
from saecert.measurement.batch import site_at
from saecert.measurement.loop import Batch
from saecert.measurement.proxies import full, pool
from saecert.measurement.scoring import score, smoothed_bits
from saecert.measurement.survey import survey
from saecert.subjects.forward import clean_run, final_residual
from saecert.subjects.subject import Subject


def document(
    subject: Subject,
    discovery: Corpus,
    hook_name: str,
    *,
    text: str,
    share: float | int = 1,
    alpha: float = 0.5,
    batch_size: int | None = None,
    progress: bool = True,
) -> dict[str, Shaped[np.ndarray, "tokens"]]:
    """Tokens of `text` that are predicted, and smoothed losses in bits at each: "token", "model",
    and "pool", of the reconstruction from that `share` of all latents that is active at most tokens
    of `discovery` (1: the whole dictionary).

    What comes after the model's longest sequence is left out. ValueError for a text of less than
    two tokens, a share outside (0, 1], or a hook point without an SAE.
    """
    if not 0 < share <= 1:
        raise ValueError(f"a pool is a share of the dictionary in (0, 1], got share={share}")
    ids = subject.tokenizer(text, add_special_tokens=False)["input_ids"]
    begin = [subject.tokenizer.bos_token_id] if subject.bos else []
    ids = (begin + ids)[: subject.n_ctx]
    if len(ids) < 2:
        raise ValueError("a text of two tokens or more is needed: nothing is predicted in this one")
    proxy = full()
    if share < 1:
        running = {"batch_size": batch_size, "progress": progress}
        d_sae = subject.sae_at(hook_name).cfg.d_sae
        order = survey(subject, discovery, hook_name, **running).ranking("frequency")
        proxy = pool(order[: max(1, round(share * d_sae))], d_sae)
    tokens = torch.tensor([ids], device=subject.device)
    batch = Batch(tokens, np.zeros(1, dtype=np.uint64), int(subject.bos), 0)
    with torch.no_grad():
        acts, clean = clean_run(subject.model, tokens, [hook_name])
        site = site_at(subject, batch, hook_name, acts[hook_name])
        spliced = site.splice(proxy.replace(site))
        replaced = final_residual(subject.model, tokens, hook_name, spliced)
    scores = score(subject.model, {"clean": clean, "pool": replaced}, tokens)
    names = {"model": "clean", "pool": "pool"}
    bits = {
        name: smoothed_bits(scores[key][0][0], alpha, subject.d_vocab)
        for name, key in names.items()
    }
    words = [subject.tokenizer.decode([token]) for token in ids[1:]]
    return {"token": np.array(words, dtype=np.str_), **bits}
