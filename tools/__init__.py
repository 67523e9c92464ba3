"""The vrmm command, one file a subcommand, and what it shows people."""
