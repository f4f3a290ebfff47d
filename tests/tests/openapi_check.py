"""Checks replies against an OpenAPI description by the schemas that it names.

usage: openapi_check.py DESCRIPTION.yaml REPLIES.json
REPLIES.json is a list of {"method", "path" (as the description has it), "call" (for people), "status", "type", "body"}.
Prints a line for each reply and exits with the number of those that do not conform.
"""

import datetime
import json
import sys

import jsonschema
import yaml

FORMATS = jsonschema.FormatChecker(formats=())


@FORMATS.checks("date-time", raises=ValueError)
def is_date_time(value):
    if not isinstance(value, str):
        return True
    if "T" not in value or not (value.endswith("Z") or value[-6] in "+-"):
        raise ValueError("no RFC 3339 time")
    # Python reads microseconds, Go writes nanoseconds.
    head, dot, tail = value.partition(".")
    digits = tail.rstrip("Z")
    datetime.datetime.fromisoformat(head.rstrip("Z") + (dot + digits[:6].ljust(6, "0") if dot else ""))
    return True


def schema_of(description, reply):
    """The schema that the description has for a reply; None where a reply has no body."""
    path = description["paths"].get("/" + reply["path"])
    if path is None:
        raise AssertionError("the description has no such path")
    operation = path.get(reply["method"].lower())
    if operation is None:
        raise AssertionError("the description has no such method")
    responses = operation["responses"]
    response = responses.get(str(reply["status"]), responses.get("default"))
    if reply["status"] < 400 and str(reply["status"]) not in responses:
        raise AssertionError(f"the description has no status {reply['status']}")
    return response.get("content", {}).get("application/json", {}).get("schema")


def check(description, reply):
    if reply["status"] >= 400 and not reply["fails"]:
        raise AssertionError(f"status {reply['status']}: {reply['body'][:200]}")
    if reply["status"] < 400 and reply["fails"]:
        raise AssertionError("it should have failed")
    schema = schema_of(description, reply)
    if schema is None:
        if reply["body"]:
            raise AssertionError("a body where the description has none")
        return
    if reply["type"] != "application/json":
        raise AssertionError(f"content type {reply['type']!r}")
    whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", "components": description["components"], **schema}
    body = json.loads(reply["body"])
    found = list(jsonschema.Draft202012Validator(whole, format_checker=FORMATS).iter_errors(body))
    if found:
        error = jsonschema.exceptions.best_match(found)
        place = "/".join(str(step) for step in error.absolute_path)
        raise AssertionError(f"{place}: {error.message[:300]}")


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        description = yaml.load(file, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    with open(sys.argv[2], encoding="utf-8") as file:
        replies = json.load(file)
    failed = 0
    for reply in replies:
        try:
            check(description, reply)
            print("ok  ", reply["call"])
        except (AssertionError, ValueError) as error:
            failed += 1
            print("FAIL", reply["call"], "-", error)
    sys.exit(min(failed, 100))


main()
