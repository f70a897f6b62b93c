"""Scoring: a month predicted with the champion, compared and judged.

- `score`: the month in batches, its drift and error, and the verdict
- `scored_model`: the model, and what is known of it since its training
- `month_records`: a month's records as they are when a model is asked
- `predictions_file`: the parquet file of predictions, whole or not there
"""
