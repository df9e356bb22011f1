"""What MLflow does when it gets the same call twice: what sending again after a fault may rely on.

These are facts of MLflow 3.17, the same on SQLite and through a server; a newer one that changes them is to be noticed.
"""
