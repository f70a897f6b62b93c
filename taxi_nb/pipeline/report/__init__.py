"""From a run's record to pages that open from disk."""
