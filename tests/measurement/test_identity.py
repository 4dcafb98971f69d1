"""Measurements are kept under what determines them, and under nothing else."""

from dataclasses import replace
from functools import partial

import torch

from saecert import load_subject
from saecert.measurement.identity import code_of, code_of_proxy, identity
from saecert.measurement.proxies import Proxy, noise, random_decoder, shuffled_positions


def test_only_code_that_makes_numbers_identifies_a_measurement(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)

    def code(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        return code_of(__import__(name))

    plain = code("plain", "def f(x):\n    return x + 1\n")
    assert plain == code(
        "annotated", '"""About."""\n\ndef f(x):\n    """One more."""\n    return x + 1  # one\n'
    )
    assert plain != code("changed", "def f(x):\n    return x + 10\n")


def test_a_proxy_is_identified_by_what_made_it():
    def scaled(factor):
        return Proxy("scaled", lambda site: site.recons * factor)

    assert code_of_proxy(scaled(1)) == code_of_proxy(scaled(2)), (
        "parameters are for the key to tell"
    )
    assert code_of_proxy(noise(1)) != code_of_proxy(noise(2)), "and it tells them"
    plain = [
        code_of_proxy(replace(proxy, key=""))
        for proxy in (noise(1), noise(2), shuffled_positions(), random_decoder(4, 2))
    ]
    assert plain[0] == plain[1] and len(set(plain)) == 3, (
        "all of them have a function called replace"
    )
    assert code_of_proxy(Proxy("partial", partial(torch.mul, 2), "twice")) == "twice", (
        "nothing to read"
    )


def test_model_saes_sequences_and_settings_identify_a_measurement(folders, subject, corpora):
    sample, (first, second, *_) = corpora["certification"], subject.hook_names
    kept = identity(subject, sample, first, "code")
    assert kept == identity(subject, sample, [first], "code")
    others = [
        identity(subject, corpora["discovery"], first, "code"),
        identity(subject, replace(sample, bos=not sample.bos), first, "code"),
        identity(subject, sample, second, "code"),
        identity(subject, sample, [first, second], "code"),
        identity(subject, sample, first, "other code"),
        identity(replace(subject, saes={first: subject.sae_at(second)}), sample, first, "code"),
        identity(replace(load_subject(folders["gpt2"]), saes=subject.saes), sample, first, "code"),
    ]
    assert len({kept, *others}) == 1 + len(others)
