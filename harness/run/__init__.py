"""From a plan to rows: worker processes, interleaved rounds, results on disk."""
