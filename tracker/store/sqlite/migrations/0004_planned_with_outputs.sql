-- Outputs are planned for the archive in the transaction that brings them: no cursor follows behind any more.
DELETE FROM cursors WHERE name = 'archives';
