"""Several raters, eight ways to train on them: the comparison of arXiv:2605.02437 on your own data."""
