"""Tables, figures, pages and their runs."""
