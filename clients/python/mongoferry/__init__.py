"""Client of mongoferry: stubs in mongoferry.v1, details of failed calls in mongoferry.call_failure."""
