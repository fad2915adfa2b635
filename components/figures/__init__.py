"""Figures of a trained variational autoencoder, written as PNG, SVG or PDF files.

Conventions of all figures: images are arrays [rows, columns, height, width, channels] with one
(gray) or three (RGB) channels, either uint8 or floats in [0, 1]. Each figure has a bold `title`
above a smaller `subtitle`, unless they are empty, and is written to `path`, which may be remote.
`axis_labels` are the labels of the horizontal and of the vertical axis. The same input gives the
same bytes.

Drawing needs no display: it uses matplotlib's objects instead of pyplot and its global state.
`page_pictures` and `line_chart` make parts of web pages instead of files, without matplotlib.
"""
