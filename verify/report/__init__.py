"""Report: what a run tells people and programs, from its history and its results. It judges nothing."""
