"""How figures and charts look, in the report and on the pages of the service alike: one style sheet,
charts as SVG without script, numbers as people read them, and the sentence behind the code of a reason."""
