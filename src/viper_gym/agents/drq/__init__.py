"""DrQ (Yarats et al. 2021): soft actor-critic from pixels with random shifts."""
