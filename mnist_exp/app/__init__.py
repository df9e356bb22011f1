"""The program that Hydra runs: configs composed, checked, and turned into runs. No other room knows Hydra."""
