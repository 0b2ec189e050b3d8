"""The command line: one file a subcommand; they parse, call and print."""
