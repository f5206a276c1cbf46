"""The brutal client: people who come and go while workers and gateways are killed.

`make reconnect` plays it against two gateways in the same run. One is the example of
`examples/chat`, which catches up until the mailbox is proven complete. The other one differs in one
method: it fetches once on connect. Both have the same number of users, devices and messages.

A message counts as acknowledged when its sender was told so. Each device must then show it:

- before it is told that it is up to date, if it connected after the acknowledgement (G11);
- in the end, on both devices (G1, G12), and in the order of its sender (G3);
- within `LATE_S_MAX` seconds in which the device was connected.

A part of the messages comes from another chat server, which sees who is online late: it produces
to Kafka up to `PRESENCE_S` after a device has registered.
"""
