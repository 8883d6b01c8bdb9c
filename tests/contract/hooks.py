"""What the document cannot say, or does not.

A cursor is one only if a page gave it, and a key that was used for another body is refused. So
cursors are left out of requests that are to succeed, and no Idempotency-Key is used twice.

The document shows one spelling of each request. The API takes some more, for clients of the
service that it replaces; so a body in one of those is not held to be refused."""

import re
import uuid

import schemathesis
from schemathesis.specs.openapi.checks import negative_data_rejection

NUMBERS = {"priority", "timeout", "max_duration", "queue_timeout"}
TEXTS = {"context", "extension", "caller_id", "variables", "media"}


@schemathesis.hook
def before_call(context, case, kwargs):
    key = (case.headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and 0 < len(key) < 200:
        case.headers["Idempotency-Key"] = key + uuid.uuid4().hex
    if case.meta is not None and case.meta.generation.mode.is_positive and case.query:
        case.query.pop("cursor", None)


def is_other_spelling(name, value):
    """Whether a field is taken, though the document says otherwise."""
    if value == "":
        return name in NUMBERS | TEXTS
    if not isinstance(value, str):
        return False
    if name in NUMBERS:
        return re.fullmatch(r"\s*[+-]?[0-9]+(\.0+)?\s*", value) is not None
    # A caller's number with separators, or a name in letters that the document does not list.
    return name == "caller_id" and (
        re.fullmatch(r"[-+0-9*#. ()<>]+", value) is not None
        or any(letter.isalpha() and letter > "\x7f" for letter in value)
    )


@schemathesis.check
def other_data_is_refused(ctx, response, case):
    if case.operation.method.upper() == "POST" and not case.operation.path.endswith("/token"):
        body = case.body
        if body is None:
            return None
        if isinstance(body, dict) and any(is_other_spelling(*field) for field in body.items()):
            return None
    return negative_data_rejection(ctx, response, case)
