"""The page that `harness report` writes: one file that says who won, and shows all it rests on.

Charts are SVG and HTML that Python has laid out, in templates of Jinja, and not the work of a
charting library in the browser, for four reasons. Plotly's script alone is some 4 MB, and nothing
is seen before it has run; here a page of four backends has half a megabyte, most of it the
measurements themselves, and it is all there as soon as it is read. What is drawn is the same
on paper, without scripts, and for a screen reader, which finds a table beside each chart. Colours
follow the reader's light or dark setting, which a script that has drawn already cannot. And as no
data goes through a script, there is one place where text of strangers is escaped: Jinja's
autoescape, with a content security policy behind it that allows one script, by its hash, and no
request. Marks are drawn in per cent of their plot, labels are text beside them, so that a phone
gets a narrow chart and not a small one. The script (`page.js`) filters, shows tooltips, and is not
needed.
"""
