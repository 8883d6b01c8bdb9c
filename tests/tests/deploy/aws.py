"""Asks the cloud what it is told on standard input: one request a line, as JSON; answers one line each.

A request names boto3's service, its operation, and the parameters.
"""

import functools
import json
import sys

import boto3
from botocore.exceptions import ClientError

client = functools.cache(boto3.client)
for line in sys.stdin:
    request = json.loads(line)
    try:
        operation = getattr(client(request["service"]), request["operation"])
        answer = operation(**request["parameters"])
        answer.pop("ResponseMetadata", None)
        # Streams are read whole.
        answer = {name: value.read().decode() if hasattr(value, "read") else value for name, value in answer.items()}
        print(json.dumps({"answer": answer}, default=str), flush=True)
    except ClientError as error:
        print(json.dumps({"error": str(error)}), flush=True)
