"""Holds rules, alerts, tests, dashboard and manual to each other and to what the bridge really serves.

usage: consistent.py METRICS_TEXT EXPRESSIONS

METRICS_TEXT holds answers of /metrics. EXPRESSIONS is written: a rule file with the dashboard's queries, for promtool.
"""
import json
import pathlib
import re
import sys

import yaml

here = pathlib.Path(__file__).resolve().parent
problems = []


def load(name):
    return yaml.safe_load((here / name).read_text())


served = {}
for line in pathlib.Path(sys.argv[1]).read_text().splitlines():
    if line and not line.startswith("#"):
        name, labels = re.match(r"([a-z_]+)(?:\{(.*)\})? ", line).groups()
        served.setdefault(name, set()).update(re.findall(r"(\w+)=\"", labels or ""))

rules = [rule for name in ("rules.yml", "alerts.yml") for group in load(name)["groups"] for rule in group["rules"]]
recorded = {rule["record"] for rule in rules if "record" in rule}
alerts = [rule for rule in rules if "alert" in rule]
dashboard = json.loads((here / "dashboard.json").read_text())
targets = [(panel["title"], target["expr"]) for panel in dashboard["panels"] for target in panel["targets"]]
variables = [(v["name"], v["definition"]) for v in dashboard["templating"]["list"] if v["type"] == "query"]

WORDS = {"by", "on", "and", "or", "unless", "offset", "sum", "without"}
# What Prometheus itself makes, and adds to what it scrapes.
FROM_PROMETHEUS = {"up": set(), "ALERTS": {"alertname", "alertstate"}}
ADDED = {"job", "instance"}


def metrics_of(expression):
    """The metrics in an expression, with the labels that each is selected by."""
    expression = re.sub(r"\b(?:by|on) *\([^)]*\)|\[\w+\]", " ", expression)
    for name, labels in re.findall(r"([a-zA-Z_][\w:]*)(?![\w:]*\()(?:\{([^}]*)\})?", re.sub(r"\b\w+\s*\(", "(", expression)):
        if name not in WORDS and not re.fullmatch(r"\d*[smhd]", name):
            yield name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", labels))


used = set()
where = [(rule.get("alert") or rule["record"], rule["expr"]) for rule in rules]
where += [(f"panel {title}", expression) for title, expression in targets]
where += [(f"variable {name}", re.sub(r"label_values\((.*), \w+\)", r"\1", text)) for name, text in variables]
for place, expression in where:
    for name, labels in metrics_of(expression):
        used.add(name)
        if name in recorded:
            continue
        has = served.get(name, FROM_PROMETHEUS.get(name))
        if has is None:
            problems.append(f"{place}: no bridge serves {name}")
        elif labels - has - ADDED:
            problems.append(f"{place}: {name} has no label {', '.join(labels - has - ADDED)}")
for name in recorded - used:
    problems.append(f"{name} is recorded and never used")
families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in served}
for name in families - {re.sub(r"_bucket$", "", name) for name in used}:
    # Counted in calls_total too.
    if name != "calls_failed_total":
        problems.append(f"{name} is served and used nowhere")

tests = load("tests/alerts.yml")["tests"]
manual = (here / "../../docs/operating.md").resolve().read_text()
for alert in alerts:
    name = alert["alert"]
    if alert.get("labels", {}).get("severity") not in ("critical", "warning"):
        problems.append(f"{name} has no severity")
    for annotation in ("summary", "description"):
        if not alert.get("annotations", {}).get(annotation):
            problems.append(f"{name} has no {annotation}")
    about = [test for case in tests for test in case["promql_expr_test"] if f'"{name}"' in test["expr"]]
    if not any(test["exp_samples"] for test in about):
        problems.append(f"{name} fires in no test")
    if not any(not test["exp_samples"] for test in about):
        problems.append(f"{name} is silent in no test")
    if f"`{name}`" not in manual:
        problems.append(f"{name} is not in docs/operating.md")

panels = dashboard["panels"]
if len({panel["id"] for panel in panels}) != len(panels):
    problems.append("panels share an id")
cells = [(x, y) for panel in panels for place in [panel["gridPos"]]
         for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])]
if len(set(cells)) != len(cells) or any(x >= 24 for x, _ in cells):
    problems.append("panels overlap or stick out")
for panel in panels:
    if not panel["description"]:
        problems.append(f"panel {panel['title']} has no description")

queries = [{"record": f"query{number}", "expr": expression.replace("$bridge", ".*")} for number, (_, expression) in enumerate(targets)]
pathlib.Path(sys.argv[2]).write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": queries}]}))

for problem in problems:
    print(problem, file=sys.stderr)
if problems:
    sys.exit(1)
print(f"ok   {len(alerts)} alerts, {len(recorded)} recorded metrics, {len(panels)} panels with {len(targets)} queries; "
      f"{len(used - recorded)} metrics used, all of them served; each alert fires in a test, is silent in one, and is in the manual")
