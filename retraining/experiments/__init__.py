"""The papers' tables as experiments: a YAML file each, run as independent tasks, shown as one report.

``plan.py`` reads experiments/*.yaml, one file per kind turns a plan into tasks, ``run.py`` runs them on one
machine or a Ray cluster, ``report.py`` shows what there is beside what the paper has.
"""
