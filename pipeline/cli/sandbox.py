"""`enrich sandbox serve`: start the stand-in servers and show how to talk to them."""

from itertools import islice
from shlex import quote

from pipeline.errors import CriticalError
from pipeline.sandbox.catalogue import Catalogue, Record
from pipeline.sandbox.options import SandboxOptions
from pipeline.sandbox.server import serve
from pipeline.sandbox.tokens import CLIENT_ID, CLIENT_SECRET, PASSWORD, REALM

_LOOKED_AT = 50
_JSON = "-H 'Content-Type: application/json'"
_FORMATS = ("2024", "2026")


def serve_sandbox(options: SandboxOptions) -> None:
    """Serve until stopped; once it answers, print what a person can try."""
    if options.error_format not in _FORMATS:
        raise CriticalError(f"--error-format is one of {', '.join(_FORMATS)}, not {options.error_format!r}.")

    def ready(catalogue: Catalogue) -> None:
        where = f"The sandbox listens on {options.public_url} with {len(catalogue.records)} records, profile {options.profile}."
        print("\n".join([where, "Try, in another terminal:", "", *examples(options, catalogue), ""]), flush=True)

    serve(options, ready)


def examples(options: SandboxOptions, catalogue: Catalogue) -> list[str]:
    """Lines for a shell, one command each, in an order in which they work."""
    url, key = options.public_url, quote(f"X-Api-Key: {options.key}")
    login = f"grant_type=password&client_id={CLIENT_ID}&client_secret={CLIENT_SECRET}&username=maker&password={PASSWORD}"
    token = f'TOKEN=$(curl -sS {url}{REALM}/protocol/openid-connect/token -d "{login}&scope=annotations"'
    record = _shown(catalogue)
    lines = [
        f"curl -sS {url}/_sandbox/health",
        f"curl -sS -H {key} '{url}/europeana/record/v2/search.json?query=*:*&rows=2&cursor=*'",
    ]
    if record is not None:
        lines += _of_record(record, options, key)
    lines += [
        f"""{token} | sed 's/.*"access_token": *"\\([^"]*\\)".*/\\1/')""",
        f"curl -sS -H {key} '{url}/europeana/annotation/search?query=*:*&pageSize=2'",
        f"""curl -sS {url}/with/user/login {_JSON} -d '{{"email":"maker","password":"{PASSWORD}"}}'""",
        f"""curl -sS {url}/_sandbox/faults -d '{{"rules":[{{"route":"/europeana/record","fault":"503","times":1}}]}}'""",
        f"curl -sS -X DELETE {url}/_sandbox/faults",
        f"curl -sS {url}/_sandbox/journal",
    ]
    if record is not None:
        lines.insert(lines.index(next(line for line in lines if line.startswith("TOKEN="))) + 1, _write(record, options))
    return lines


def _shown(catalogue: Catalogue) -> Record | None:
    """The first record that has a readable picture."""
    first = islice(catalogue.records.values(), _LOOKED_AT)
    return next((record for record in first if record.shown_by and record.picture), None)


def _of_record(record: Record, options: SandboxOptions, key: str) -> list[str]:
    url, address = options.public_url, record.shown_by
    thumbnail = f"{url}/europeana/thumbnail/v2/url.json?size=w200&type=IMAGE"
    host = address.partition("/media/")[0]
    return [
        f"curl -sS -H {key} {quote(f'{url}/europeana/record/v2{record.id}.json')}",
        f"curl -sS -o picture.jpg {quote(address)}",
        f"curl -sS -o thumbnail.jpg -G '{thumbnail}' --data-urlencode {quote(f'uri={address}')}",
        f"curl -sS {quote(f'{url}/iiif{record.id}/info.json')}",
        f"curl -sS -o part.jpg {quote(f'{url}/iiif{record.id}/full/!200,200/0/default.jpg')}",
        f"curl -sS -L -o redirected.jpg {host}/_faulty/redirect/3/picture.jpg",
    ]


def _write(record: Record, options: SandboxOptions) -> str:
    # A tag that was not there before, or the server would call it a duplicate.
    tag = """{"type":"TextualBody","value":"tried at '"$(date +%s) $RANDOM"'","language":"en"}"""
    body = f'{{"motivation":"tagging","body":{tag},"target":"http://data.europeana.eu/item{record.id}"}}'
    return f"curl -sS {options.public_url}/europeana/annotation/ -H \"Authorization: Bearer $TOKEN\" {_JSON} -d '{body}'"
