"""The built-in data set: drawn photographs of rice leaves."""
