-- Who let a change pass that the guards would have stopped; when is the start of the run.
alter table legacy_sync.run add column accepted_by text;
