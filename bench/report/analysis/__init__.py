"""From records to numbers: which runs count, intervals, verdicts and ranks."""
