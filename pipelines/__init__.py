"""When and what: definitions, automation, the command line and the recipes."""
