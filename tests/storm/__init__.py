"""Storms: real Kafka, real processes, every fault at once, drawn from a printed seed.

python -m tests.storm --seconds 600 --seed 7

script       which events, in which order: pure, from the seed
traffic      which records: users, bursts, every kind of bad record: pure, from the seed
fault_rates      which faults the two endpoints inject all the time
supervisor   the workers: restarts whoever leaves, as an orchestrator does
group        rewinds of the group, by Kafka's own tool and by `poste rewind`
events       how each event is made
run          services, endpoints, producers, readers, auditor; then quiet, drain, verdict
report       the line of figures, and whether it is clean
"""
