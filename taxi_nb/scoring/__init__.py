"""Scoring: a month predicted with the champion, compared and judged.

- `score`: the month in batches, logged; `result`: its drift, its error, the verdict
- `_tally`: sums over batches, from which drift and error follow
- `scored_model`: the model, and what its training run logged about it
- `_month_records`: a month's records as they are when a model is asked
- `monthly`: one month after another, trained again where it has to be; `judged_months`: what became
  of each; `months_page`: all of them
- `serving`: the champion behind an address, and a challenger beside it
- `predictions_file`: the parquet file of predictions, whole or not there
"""
