"""Published certificates from the means that they rest on: as printed, and by sharper inequalities.

`tacl` and `v1` are the two forms of the paper (its journal form and arXiv 2606.18383v1), `direct`
its bound without an SAE, `published_bound` the form of its predecessor (arXiv 2602.11388): each
returns every term of the formula as printed. `sharper` and `sharper_direct` say what valid
inequalities certify from the same means: mean, range and sample size are all they need.

>>> from saecert.certificates import published
>>> statistics = {"n_seq": 10_000, "proxy_risk": 7.358728, "gap": 0.215941, "mismatch": 0.0013}
>>> statistics |= {"pool": 24_510, "d_sae": 24_576, "n_vocab": 50_257}
>>> printed = published.tacl(**statistics)
>>> round(printed.fixed, 5), round(printed.occam, 5)
(8.28349, 10.42257)
>>> round(published.sharper(**statistics).fixed, 3)
7.892
"""

from saecert.certificates.published.from_means import Sharper, sharper, sharper_direct
from saecert.certificates.published.paper import V1, Direct, Tacl, direct, subset_nats, tacl, v1
from saecert.certificates.published.predecessor import PublishedBound, published_bound

__all__ = [
    "V1",
    "Direct",
    "PublishedBound",
    "Sharper",
    "Tacl",
    "direct",
    "published_bound",
    "sharper",
    "sharper_direct",
    "subset_nats",
    "tacl",
    "v1",
]
