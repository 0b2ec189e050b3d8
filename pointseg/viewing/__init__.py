"""Looking at segmented clouds: labelled PLY files, PNG panels and a single-file web page, none of which needs OpenGL
on this side or a network on the other."""
