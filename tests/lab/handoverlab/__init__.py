"""The handoverd lab: hosts, guests, a name server and a client on one machine."""
