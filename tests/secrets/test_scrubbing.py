"""`scrubbed` finds what notebooks and their files write out, and leaves the rest as it is."""

from __future__ import annotations

import time

import pytest

from taxi_nb.secrets.literals import scrubbed

# The secret is always `hunter…` or `opensesame`.
WRITTEN_OUT = r"""
os.environ["DB_PASSWORD"] = "hunter2"
os.environ.setdefault("X_PASSWORD", "hunter2")
%env API_TOKEN=hunter2
%env API_TOKEN hunter2
%set_env API_TOKEN hunter2
d["password"] = 'hunter2'
headers = {"Authorization": "Bearer hunter2hunter2"}
curl -H "Authorization: Bearer hunter2" https://x
curl -H 'Authorization: Basic aHVudGVyMjpodW50ZXIy' https://x
X_PASS=hunter2
export X_PASS=hunter
password: hunter2
api_key = "hunter2"
API_KEY='opensesame'
secret = "opensesame"
mydb_pw = "hunter2"
connect(host="h", user="me", password="hunter2")
"dbname=x password=hunter2 host=y"
Server=x;Uid=me;Pwd=hunter;
monkeypatch.setenv("API_TOKEN", "hunter2")
os.getenv("API_TOKEN", "hunter2")
os.putenv("API_TOKEN", "hunter2")
server.login("me@example.org", "hunter2")
requests.get(u, auth=("me", "hunter2"))
keyring.set_password("svc", "me", "hunter2")
curl -u me:hunter2 https://x
mytool --password hunter2 --x
mytool --token=hunter2
machine h login me password hunter2
CREATE USER me IDENTIFIED BY 'hunter2'
<password>hunter2</password>
user, password = "me", "hunter2"
password: str = "hunter2"
self.password = f"hunter2"
x-api-key: hunter22
"password": "hunter2",
    "os.environ[\"DB_PASSWORD\"] = \"hunter2\"\n",
    "%env API_TOKEN=hunter2\n",
    "password = 'hunter2'\n",
    "{\"Authorization\": \"Bearer hunter2hunter2\"}\n",
postgresql://me:hunter2@host/db
https://h/x?X-Amz-Signature=hunter2&a=1
https://h/x?a=1\u0026X-Amz-Signature=hunter2
password = ("hunter2")
password = '''hunter2'''
os.environ.update(DB_PASSWORD="hunter2")
os.environ |= {"DB_PASSWORD": "hunter2"}
dbutils.secrets; token = "hunter2"
!export API_TOKEN=hunter2
ENV API_TOKEN hunter2
docker run -e API_TOKEN=hunter2 x
password = "hunter2 with \" quote"
os.environ['AWS_SECRET_ACCESS_KEY']='wJalrXUtnFEMI/K7MDENG/bPxRfiCYhunter2'
AccountKey=hunter2hunter2Kz==;x
if password == "hunter2":
"Authorization: token hunter2hunter2"
"""

HARMLESS = r"""
token = tokens[0]
sort_key = "zone"
password = os.environ["DB_PASSWORD"]
api_key = getpass("API key: ")
# the password is read from the environment
tokenizer = "bert-base-uncased"
df = df.sort_values(key="pickup_datetime")
secret_value = secret("env:API_TOKEN")
max_tokens = 512
password: str
def login(user: str, password: str = "") -> None:
token_type = "word"
df["key"] = df["a"].astype(str)
primary_key = "trip_id"
"keyword": "value",
next_token = "abcdef"
pad_token = "[PAD]"
headers = {"Authorization": f"Bearer {token}"}
headers = {"Authorization": "Bearer " + token}
Authorization = None
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["GOOGLE_APPLICATION_CREDENTIALS"] = "/home/me/key.json"
s3.get_object(Bucket="trips", Key="data/green_tripdata_2021-01.parquet")
create_engine(f"postgresql://{user}:{password}@{host}/db")
curl -H "Authorization: Bearer $TOKEN" https://x
export API_TOKEN=$(cat token.txt)
passenger_count = 3
first_pass = "done"
https://example.org/trips?page=2&page_token=abc
sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
connect(user=user, password=password)
password = config.get("db", "password")
token = row.token2
api_key="YOUR_API_KEY"
cache_key = "green_2021_01_v2"
parser.add_argument("--password", help="the database's password")
print("Token: missing")
<input type="password" name="password">
.sk-toggleable__label-arrow-before2 { color: red }
key = lambda row: row["a"]
secret = env["SECRET"]
use --password instead of --token
token = next(tokens)
assert "password" not in text
password = widgets.Password(description="Password")
uuid = "123e4567-e89b-12d3-a456-426614174000"
api_token: str = "env:API_TOKEN"
for key, value in items: print(key, value)
users = pd.merge(a, b, on="user_key")
df.groupby("key")["value"].mean()
mlflow.set_tag("token_count", "12345678")
monkey = "george12"
# password: see the wiki
git clone https://github.com/org/repo.git
passwords, tokens = [], []
key1 = "PULocationID"
if not token: raise ValueError("no token given")
docker run -u 1000:1000 image
logging.info("token %s used", token[:4])
"lat:lon" ; auth=(user, password)
"""

# Put together here, since hosts refuse commits with such in them.
TOKENS = {
    "aws": "AKIA" + "IOSFODNN7EXAMPLE",
    "github": "ghp_" + 36 * "a1",
    "github_pat": "github_pat_" + 30 * "a1",
    "slack": "xoxb-" + "123456789012-abcdefABCDEF",
    "google": "AIza" + 35 * "b",
    "openai": "sk-proj-" + 12 * "aB3",
    "jwt": "eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeK",
    "gitlab": "glpat-" + 20 * "x",
    "stripe": "sk_live_" + 24 * "4",
    "hugging face": "hf_" + 34 * "Q",
    "private key": "-----BEGIN EC PRIVATE KEY-----\nMHcC\n-----END EC PRIVATE KEY-----",
}


def lines(text: str) -> list[str]:
    return text.strip("\n").splitlines()


@pytest.mark.parametrize("line", lines(WRITTEN_OUT))
def test_a_secret_is_found_in_every_idiom_of_notebooks(line: str) -> None:
    found, count = scrubbed(f"a = 1\n{line}\nb = 2\n")
    assert "hunter" not in found
    assert "opensesame" not in found
    assert count >= 1
    assert found.startswith("a = 1\n")
    assert found.endswith("\nb = 2\n")


@pytest.mark.parametrize("vendor", TOKENS)
def test_tokens_are_known_by_their_form(vendor: str) -> None:
    token = TOKENS[vendor]
    assert scrubbed(f"run({token!r})") == ("run('***')", 1) or vendor == "private key"
    assert scrubbed(f"of a log: {token}\n") == ("of a log: ***\n", 1)


def test_harmless_lines_stay_as_they_are() -> None:
    changed = [line for line in lines(HARMLESS) if scrubbed(f"{line}\n") != (f"{line}\n", 0)]
    assert len(lines(HARMLESS)) >= 60
    assert changed == []
    assert scrubbed(HARMLESS) == (HARMLESS, 0)


@pytest.mark.parametrize(
    "unit",
    [
        *("a line of prose\n", "iVBORw0KGgoAAAA", " ", "a", "eyJaaaaaaaa-", "a://b:", "a://x@"),
        *("password: ", "password='", '\\"password=', "-----BEGIN A", "a, b = ", "-u a:"),
        *("get_a('", "--a", " -e a", "a=", "%env a "),
    ],
)
def test_time_grows_with_the_text(unit: str) -> None:
    def seconds(size: int) -> float:
        start = time.process_time()
        scrubbed(unit * (size // len(unit)))
        return time.process_time() - start

    small = max(seconds(20_000), 0.01)
    # Ten times the text: where time grew with its square it would take a hundred times as long.
    assert seconds(200_000) < 40 * small


def test_a_megabyte_on_one_line_is_looked_through() -> None:
    start = time.process_time()
    found, count = scrubbed('{"a": "' + "x1 " * 350_000 + '", "db_password": "hunter2"}')
    assert count == 1
    assert "hunter2" not in found
    assert time.process_time() - start < 10
