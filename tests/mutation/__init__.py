"""Mutation testing of the pure modules: how strong their unit tests are.

`make mutate` changes one operator of a module at a time and runs the module's own unit tests. A
change that no test notices is a survivor. Each survivor is killed by a new test or listed in
`tests/mutation/modules.toml` with the reason why it changes nothing.
"""
