"""``cellstate benchmark``: methods on data sets, beside references and published figures."""
