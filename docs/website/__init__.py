"""The documentation site: Markdown pages generated from the code, the ledger and stored results, built by Sphinx.

`python -m website` (with docs/ on the path) writes them below build/docs. Each module makes pages of one kind, as
dicts from a path to Markdown; `site` puts them together, and nothing is written twice: titles, docstrings, options,
captions and numbers come from the objects that own them.
"""
