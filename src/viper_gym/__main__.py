"""`python -m viper_gym` is `viper-gym`."""

from viper_gym.cli import main

main()
