"""One text token by token: losses are those of the model and of a pool, at its own tokens."""

import numpy as np
import pytest
import torch

from saecert.dictionaries.document import document
from saecert.measurement.survey import survey

HOOK = "blocks.0.hook_resid_post"
TEXT = "the bound of a frozen model"


def test_losses_of_the_model_are_those_of_the_model(subject, corpora):
    found = document(subject, corpora["discovery"], HOOK, text=TEXT, progress=False)
    ids = subject.tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    assert found["token"].tolist() == [subject.tokenizer.decode([token]) for token in ids]
    tokens = torch.tensor([[subject.tokenizer.bos_token_id, *ids]])
    with torch.no_grad():
        probs = subject.model.original_model(tokens).logits[0, :-1].softmax(dim=-1)
    q = probs[torch.arange(len(ids)), torch.tensor(ids)].double().numpy()
    np.testing.assert_allclose(found["model"], -np.log2(0.5 * q + 0.5 / 320), atol=1e-4)


def test_a_pool_is_that_of_the_most_frequent_latents(subject, corpora):
    discovery = corpora["discovery"]
    whole = document(subject, discovery, HOOK, text=TEXT, progress=False)
    part = document(subject, discovery, HOOK, text=TEXT, share=0.25, progress=False)
    np.testing.assert_array_equal(whole["model"], part["model"])
    assert np.abs(whole["pool"] - part["pool"]).max() > 1e-3
    fired = (survey(subject, discovery, HOOK, progress=False).token_count > 0).mean()
    same = document(subject, discovery, HOOK, text=TEXT, share=min(1, fired + 0.2), progress=False)
    assert np.abs(whole["pool"] - same["pool"]).max() < np.abs(whole["pool"] - part["pool"]).max()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"text": ""}, "two tokens or more"),
        ({"text": TEXT, "share": 0.0}, r"share of the dictionary in \(0, 1\], got share=0.0"),
    ],
)
def test_what_cannot_be_is_refused(subject, corpora, settings, message):
    with pytest.raises(ValueError, match=message):
        document(subject, corpora["discovery"], HOOK, progress=False, **settings)
