"""The command line: parsers, and one module for each family of commands."""
