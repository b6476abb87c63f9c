"""Configuration of Sphinx for the documentation site; everything works without a network."""

from importlib import metadata

project = "cgro"
author = "The cgro developers"
version = release = metadata.version("cgro")
extensions = ["myst_parser", "website.sidebar"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
nitpicky = True
smartquotes = False
highlight_language = "text"
html_theme = "furo"
html_title = "cgro"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_copy_source = False
html_use_index = False
html_show_sourcelink = False
html_show_sphinx = False
html_show_copyright = False
html_show_search_summary = False  # it would fetch pages, which browsers refuse for files
html_theme_options = {"navigation_with_keys": True}
pygments_style = "friendly"
pygments_dark_style = "github-dark"
