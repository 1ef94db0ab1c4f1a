"""Speed against the peers, in one run, as ratios: ``./run bench``."""
