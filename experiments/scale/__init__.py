"""What holds past one machine, as far as one machine can show it."""
