"""The report for marketing people: one HTML file, made of the published marts alone."""
