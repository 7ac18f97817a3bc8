"""The look of figures and charts, in the report and on the service's pages: one style sheet, charts as SVG without
scripts, number formatting, and the sentence for each reason code."""
