"""This worker and those that people would write in its place, whole, on real Kafka.

`part` measures; the scripts of the contenders are run as children and import nothing of it.
"""
