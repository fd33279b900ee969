"""What must hold before anything is trained or predicted."""
