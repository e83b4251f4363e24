"""The grammar of SQL++: tokens, rules, and what the rules make of their parts."""
