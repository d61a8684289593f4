"""The report's page: one self-contained HTML file."""

from __future__ import annotations

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ g.plan.title }}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; color: #1d232b; }
body { max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: .2rem; } h2 { margin-top: 2.2rem; border-bottom: 1px solid #d5dae0; }
.lead { font-size: 1.1rem; } .small { color: #5a6572; font-size: .9rem; }
table { border-collapse: collapse; margin: .6rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #e3e7ec; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } td.long { white-space: normal; text-align: left; }
caption { text-align: left; font-weight: 600; } .missing { color: #9aa3ad; font-style: italic; }
.best { font-weight: 700; } .pair { display: flex; flex-wrap: wrap; gap: 0 3rem; align-items: flex-start; }
.bad { color: #a3262a; } .good { color: #1e6b3a; } svg { max-width: 100%; height: auto; }
figure { margin: 1rem 0; } img { max-width: 100%; image-rendering: pixelated; }
code { background: #f1f3f6; padding: .1rem .3rem; overflow-wrap: anywhere; } details { margin: 1rem 0; }
</style>
</head>
<body>
<h1>{{ g.plan.title }}</h1>
<p class="lead">{{ g.plan.question }}</p>
<p>Target: {{ g.plan.target }}<br>
Source: {{ g.plan.paper.title }}, {{ g.plan.paper.where }}</p>
<p><strong>{{ g.size }} size</strong>, {{ g.done }} of {{ g.tasks|length }} tasks done{% if failed %},
<span class="bad">{{ failed }} failed</span>{% endif %}.
{% if g.done < g.tasks|length %}<span class="bad">This report is not complete.</span>{% endif %}</p>

<h2>Figures</h2>
{% for t in tables %}
<h3>{{ t.filled.table.title }}{% if t.filled.table.unit %}, {{ t.filled.table.unit }}{% endif %}
{% if t.direction %}<span class="small">({{ t.direction }})</span>{% endif %}</h3>
<div class="pair">
<table><caption>Ours</caption>
<tr><th></th>{% for c in t.filled.table.columns %}<th>{{ c.label }}</th>{% endfor %}</tr>
{% for row in t.filled.table.rows %}
<tr><td>{{ row.label }}</td>{% for c in t.filled.table.columns %}
{%- set shown = t.filled.text(row.name, c.name) %}
<td class="{{ 'missing' if shown == not_run }} {{ 'best' if (row.name, c.name) in t.best }}">{{ shown }}</td>
{%- endfor %}</tr>
{% endfor %}</table>
{% if t.filled.has_paper %}
<table><caption>The paper</caption>
<tr><th></th>{% for c in t.filled.table.columns %}<th>{{ c.label }}</th>{% endfor %}</tr>
{% for row in t.filled.table.rows %}
<tr><td>{{ row.label }}</td>{% for c in t.filled.table.columns %}
<td>{{ t.filled.paper(row.name, c.name) }}</td>
{%- endfor %}</tr>
{% endfor %}</table>
{% endif %}
</div>
{% if t.filled.table.note %}<p class="small">{{ t.filled.table.note }}</p>{% endif %}
{% for sentence in t.filled.verdicts() %}<p>{{ sentence }}</p>{% endfor %}
{% if t.svg %}<figure>{{ t.svg|safe }}</figure>{% endif %}
{% endfor %}
<p class="small">Ours: mean ± standard deviation over seeds; k of n with its 95 % Wilson interval in brackets.
Bold: the best of a column.</p>

{% if g.notes or g.unplaced %}<h2>Notes</h2><ul>
{% for note in g.notes %}<li>{{ note }}</li>{% endfor %}
{% for figure in g.unplaced %}<li>a figure without a place in the tables: {{ figure }}</li>{% endfor %}
</ul>{% endif %}

<h2>What was reduced, and what differs from the paper</h2>
{% if g.reduced %}<table><tr><th>setting</th><th>here</th><th>full size</th></tr>
{% for key, here, there in g.reduced %}<tr><td>{{ key }}</td>
<td class="long">{{ here }}</td><td class="long">{{ there }}</td></tr>
{% endfor %}</table>
{% else %}<p>Nothing: this is the full size.</p>{% endif %}
{% if g.plan.paper.differences %}<ul>
{% for d in g.plan.paper.differences %}<li>{{ d }}</li>{% endfor %}
</ul>{% endif %}

{% if plots %}<h2>Curves</h2>{% for svg in plots %}<figure>{{ svg|safe }}</figure>{% endfor %}{% endif %}

{% if sheets %}<h2>Samples</h2>
{% for data, caption in sheets %}<figure><figcaption class="small">{{ caption }}</figcaption>
<img src="data:image/png;base64,{{ data }}" alt="{{ caption }}"></figure>{% endfor %}{% endif %}

<h2>Tasks</h2>
<table><tr><th>task</th><th>state</th><th>seconds</th><th></th></tr>
{% for task in g.tasks %}<tr><td>{{ task.name }}</td>
<td class="{{ {'done': 'good', 'failed': 'bad'}.get(task.state, 'missing') }}">{{ task.state }}</td>
<td>{{ '%.1f'|format(task.seconds) if task.state == 'done' else '' }}</td>
<td class="long">{{ task.message }}</td></tr>
{% endfor %}
<tr><td>all together</td><td></td><td>{{ '%.0f'|format(seconds) }}</td><td></td></tr></table>

<h2>How this was made</h2>
<p><code>{{ command }}</code></p>
{% for around in surroundings %}<table>{% for key, value in around.items() %}
<tr><td>{{ key }}</td><td class="long">{{ value }}</td></tr>{% endfor %}</table>{% endfor %}
</body>
</html>
"""
