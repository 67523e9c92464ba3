"""The landmark and start-value network: learnt from the prior's own renderings, so that it needs no download."""
