"""`trunks.yaml`: what is wanted, read with the line of every fault, and written by `sip import`."""
