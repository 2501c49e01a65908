"""From tables to files: Markdown, HTML, CSV, figures, terminal."""
