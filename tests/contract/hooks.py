"""What the document cannot say: a cursor is one only if a page gave it, and a key that was used for another body is
refused. So cursors are left out of requests that are to succeed, and no Idempotency-Key is used twice."""

import uuid

import schemathesis


@schemathesis.hook
def before_call(context, case, kwargs):
    key = (case.headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and 0 < len(key) < 200:
        case.headers["Idempotency-Key"] = key + uuid.uuid4().hex
    if case.meta is not None and case.meta.generation.mode.is_positive and case.query:
        case.query.pop("cursor", None)
