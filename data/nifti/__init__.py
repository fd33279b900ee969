"""From files to arrays and back: headers, geometry, native grids."""
