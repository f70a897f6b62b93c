"""The champion behind an address: it follows promotions, and says how it is.

`application` answers requests; `models_in_use` knows champion and challenger and loads them;
`repeated` does what is done beside it; `answers_log` keeps what was answered, and `comparison`
holds it against what came true.
"""
