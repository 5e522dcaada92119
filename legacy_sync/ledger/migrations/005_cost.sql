-- What the fetches that a run took in had cost, and up to when all changes of the source are in the ERP since then.
-- A fetch that several entities read costs the one that took it in first; each counts its own rows.
alter table legacy_sync.run
    add column rows_fetched     bigint,
    add column fetch_requests   integer,
    add column fetch_bytes      bigint,
    add column fetch_seconds    double precision,
    add column all_rows_because text,        -- why all rows were read although only changes were asked for
    add column changes_up_to    timestamptz; -- null: the run did not look at all that may have changed
create index run_by_end on legacy_sync.run (finished_at);
