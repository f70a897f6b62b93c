"""The champion behind an address: it follows promotions, and says how it is.

`application` answers requests; `ModelsInUse` knows who is champion and challenger and loads them;
`AnswersLog` keeps what was answered, `comparison` compares it with what came true.
"""
