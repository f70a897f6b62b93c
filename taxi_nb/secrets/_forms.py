"""The forms that secrets have in code, files and commands: names, values, tokens of vendors.

Every expression goes through a text in time that grows with its length: repetitions are bounded
or possessive, and what may begin in the middle of a long word does not.
"""

from __future__ import annotations

import re

# Last words of a secret's name; `keys_of`, `monkey` and `n_tokens` do not end in them.
_NOUNS = {"bearer", "key", "pass", "pw", "token"}
_ALWAYS = {"apikey", "credential", "credentials", "passcode", "passphrase", "passwd", "password"}
_ALWAYS |= {"passwords", "pwd", "secret", "secrets"}
# `sort_key` orders, `next_token` counts on, `key_column` and `password_file` say where something
# is, not what it is.
_HARMLESS = {"band", "bos", "cache", "cls", "dict", "end", "eos", "first", "foreign", "group"}
_HARMLESS |= {"high", "index", "join", "last", "low", "mask", "n", "next", "one", "order", "pad"}
_HARMLESS |= {"page", "partition", "previous", "primary", "public", "row", "second", "sep", "sort"}
_HARMLESS |= {"special", "start", "stop", "two", "unk"}
_ABOUT = {"column", "columns", "count", "env", "error", "field", "file", "folder", "format", "help"}
_ABOUT |= {"hint", "id", "label", "length", "message", "name", "names", "path", "pattern", "policy"}
_ABOUT |= {"prompt", "regex", "rules", "size", "stdin", "title", "type", "url", "var", "variable"}
# Before `key` and `token` they leave no doubt: others may be a dictionary's or a language's.
_OF_DOORS = {"access", "account", "api", "app", "auth", "authorization", "aws", "azure", "bot"}
_OF_DOORS |= {"client", "deploy", "encryption", "gh", "github", "gitlab", "hf", "id", "license"}
_OF_DOORS |= {"master", "openai", "personal", "private", "refresh", "sas", "service", "session"}
_OF_DOORS |= {"shared", "signing", "slack", "ssh", "storage", "subscription", "user", "x"}


def words_of(name: str) -> list[str]:
    """Return the words of a name in lower case: ``dbPassword`` has two."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return [word for word in re.split(r"[^a-z0-9]+", spaced.lower()) if word]


def looks_secret(name: str) -> bool:
    """Whether this is probably a secret's name: ``api_key``, ``dbPassword``, ``TOKEN``."""
    words = words_of(name)
    if not words or words[-1] in _ABOUT:
        return False
    if _ALWAYS.intersection(words):
        return True
    return words[-1] in _NOUNS and not _HARMLESS.intersection(words)


def is_plainly_secret(name: str) -> bool:
    """Whether a secret's name leaves no doubt, as ``key`` and ``token`` alone do."""
    words = set(words_of(name))
    return looks_secret(name) and bool(words & (_ALWAYS | _OF_DOORS | {"bearer", "pass", "pw"}))


_PLACEHOLDER = re.compile(
    r"\[?env:.*|[$<{%*].*|.*\$?\{\w[^{}\n]{0,80}\}.*|\.+|x+|(?:your|my|some|the)[-_ ]?.*"
    r"|(?:pass(?:word|wd)?|pwd?|token|secret|key|api[-_]?key|none|null|true|false|str|string|text"
    r"|required|optional|redacted|hidden|bearer|basic|masked|change[-_]?me|u?int\d*|float\d*)"
    r"|[\w./~-]*\.(?:json|pem|txt|ya?ml|env|key|crt|ini|cfg|toml|csv|parquet)",
    re.IGNORECASE | re.DOTALL,
)


def is_placeholder(value: str) -> bool:
    """Whether a text stands for a value, or says where one is: ``{token}``, ``key.json``."""
    value = value.strip()
    is_variable = value.isupper() and "_" in value and looks_secret(value)
    return len(value) < 4 or is_variable or bool(_PLACEHOLDER.fullmatch(value[:300]))


def looks_random(value: str) -> bool:
    """Whether nobody would write such a value by hand: long, with letters and digits mixed."""
    if not re.fullmatch(r"[\w+=.~-]{16,}|[\w+=.~/-]{32,}", value):
        return False
    is_hex = bool(re.fullmatch(r"[0-9a-fA-F]{32,}", value))
    kinds = (str.isdigit, str.islower, str.isupper)
    return is_hex or all(any(map(kind, value)) for kind in kinds)


PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----.*?"
    r"(?:-----END [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)"
    r"|^PuTTY-User-Key-File-\d:.*?(?:^Private-MAC:[^\n]*+|\Z)|AGE-SECRET-KEY-1[0-9A-Z]{40,}",
    re.DOTALL | re.MULTILINE,
)
_VENDORS = (
    r"(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}(?![0-9A-Za-z])",  # AWS
    r"gh[opsur]_[A-Za-z0-9]{20,}+|github_pat_\w{20,}+|gl(?:pat|dt|rt|cbt|ptt)-[\w-]{16,}+",
    r"xox[abceoprs]-[\w-]{10,}+|xapp-\d-[\w-]{10,}+",  # Slack
    r"AIza[\w-]{35}(?![\w-])|GOCSPX-[\w-]{20,}+|ya29\.[\w.-]{20,}+|1//0[\w-]{30,}+",  # Google
    # A digit: class names of scikit-learn's pages begin like these keys.
    r"sk-(?=[\w-]*\d)(?=[\w-]*[A-Z])[\w-]{20,}+|(?:hf|r8|gsk)_[A-Za-z0-9]{20,}+",
    r"eyJ[\w-]{8,}+\.[\w-]{8,}+\.[\w-]{8,}+",  # JWT
    r"[rs]k_(?:live|test)_[A-Za-z0-9]{16,}+|whsec_[A-Za-z0-9+/=]{20,}+|sq0[a-z]{3}-[\w-]{20,}+",
    r"SG\.[\w-]{16,40}\.[\w-]{16,80}|SK[0-9a-f]{32}(?!\w)|npm_[A-Za-z0-9]{36}(?!\w)",
    r"pypi-[\w-]{30,}+|do[opr]_v1_[0-9a-f]{64}|dapi[0-9a-f]{32}(?:-\d)?(?!\w)|dckr_pat_[\w-]{20,}+",
    r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}|hv[bsr]\.[\w-]{20,}+|ATATT3[\w=-]{20,}+|ntn_\w{30,}+",
    r"lin_api_\w{20,}+|glsa_\w{20,}+|sntrys_[\w=+/-]{20,}+|sbp_[0-9a-f]{40}|\d{8,10}:AA[\w-]{33}",
)
TOKEN = re.compile(rf"(?<![\w-])(?:{'|'.join(_VENDORS)})")
WEBHOOK = re.compile(
    r"(?<=hooks\.slack\.com/services/)[\w/]{20,}+|(?<=discord\.com/api/webhooks/)[\w/-]{20,}+"
)
ADDRESS = re.compile(r"""(?<![\w+.-])[A-Za-z][\w+.-]*+://(?:[^\s"'<>\\]|\\u0026)++""")

_NAME = r"(?<![\w.-])(?P<name>[A-Za-z_][\w.-]*+)"
# In a notebook's file the quotes of code are escaped.
_QUOTED = (
    r"""[rbfuRBFU]{0,2}(?:(?P<o1>\\")(?P<v1>(?:\\\\.|(?!\\")[^\n])*?)\\"|"""
    r"""(?P<o2>\"\"\"|'''|"|')(?P<v2>(?:\\.|(?!(?P=o2))[^\n\\])*+)(?P=o2))"""
)
_BARE = r"""(?P<bare>[^\s"'\\,;&(){}\[\]]++)(?![ \t]{0,4}[(\[])"""
_ANY = rf"(?:{_QUOTED}|{_BARE})"
_SPACE = r"[ \t]{0,20}"
ASSIGNED = re.compile(
    rf"""{_NAME}(?P<between>\\?["']?{_SPACE}\]?{_SPACE}(?::{_SPACE}[A-Za-z][\w.\[\]|]{{0,40}}"""
    rf"""{_SPACE}(?==))?(?::=|[:=]=?|!=){_SPACE}(?:\(\s{{0,20}})?){_ANY}"""
)
CALLED = re.compile(
    r"\b(?:set|put|get|add|pop|log|append)\w*+\(\s{0,20}"
    rf"""\\?["']{_NAME}(?P<between>\\?["']\s{{0,20}},\s{{0,20}}(?:value\s?=\s?)?){_QUOTED}"""
)
COMMAND = re.compile(
    r"(?:%env|%set_env|\bsetx|\bENV|\bexport|\bset|(?<!\S)-e[ \t]|-{2}(?=\w))[ \t]{0,4}"
    rf"(?P<name>[A-Za-z_][\w.-]{{0,80}}+)(?P<between>[ \t]{{1,4}}|=){_ANY}"
)
# A line of a shell or of .env: its value needs no quotes, whatever is in it.
LINE = re.compile(
    r"""^[ \t"'!+]{0,12}(?:export |set )?(?P<name>[A-Z][A-Z0-9_]*+)=(?P<bare>[^\s"'\\()\[\]]++)"""
    r"(?![(\[])",
    re.MULTILINE,
)
# The last of these in brackets is one, whatever it is named.
LOGIN = re.compile(
    r"(?:\.login|set_password|BasicAuth|\bauth\s{0,3}=\s{0,3})\("
    rf"""(?:\s{{0,20}}[^\n,()]{{1,200}},){{1,2}}\s{{0,20}}{_QUOTED}(?=\s{{0,20}}\))"""
)
AUTHORIZATION = re.compile(
    r"""\b(?:authorization\\?["']?[ \t]{0,4}\]?[ \t]{0,4}[:=,][ \t]{0,4}(?:[rbf]?\\?["'])?"""
    r"""(?P<scheme>(?:bearer|basic|token|apikey|negotiate)[ \t]{1,4})?|bearer[ \t]{1,4})"""
    r"(?P<value>[A-Za-z0-9._~+/=:-]{4,}+)(?![(\[])",
    re.IGNORECASE,
)
# `curl -u`, XML, .netrc and SQL.
OTHERS = re.compile(
    r"""(?:\s-u|--user)[ \t=]{1,4}["']?[^\s:"']{1,80}:(?P<a>[^\s"'\\]{4,}+)"""
    r"|<(?P<name>[A-Za-z_]\w{0,40})>(?P<b>[^<>\n]{4,200})</"
    r"|\bmachine\s{1,20}\S{1,80}\s{1,20}login\s{1,20}\S{1,80}\s{1,20}password\s{1,20}(?P<c>\S{4,}+)"
    r"|\b(?:identified\s{1,20}by|with\s{1,20}password|password)\s{1,20}'(?P<d>[^'\n]{4,200})'",
    re.IGNORECASE,
)
PAIRED = re.compile(
    r"""(?<![\w.,-])(?P<names>[A-Za-z_]\w{0,60}(?:[ \t]{0,4},[ \t]{0,4}[A-Za-z_]\w{0,60}){1,5})"""
    r"""[ \t]{0,4}=[ \t]{0,4}\(?(?P<values>[^\n]{1,500})"""
)
