"""DreamerV3 (Hafner et al. 2023): a policy trained inside a learned world model."""
