"""What may be asked of a target, how it answers, and the parsers of the answers."""
