"""SIP on the wire: messages, transactions, dialogs, digests, sockets. Knows no call."""
