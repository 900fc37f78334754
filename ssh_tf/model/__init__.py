"""The network, its loss layer, and the files its weights come from."""
