"""The harness measured as an instrument: planted truth in, rates of right and wrong out."""
