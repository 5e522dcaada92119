-- A run can be taken back. That is a run of its own, of mode undo, and can be taken back in its turn.
alter table legacy_sync.run drop constraint run_mode_check;
alter table legacy_sync.run add constraint run_mode_check check (mode in ('incremental', 'full', 'replay', 'undo'));
alter table legacy_sync.run
    add column undoes            bigint[],     -- the runs it took back, all of this entity
    add column images_removed_at timestamptz;  -- since when the before and after images are not kept any more
create index run_with_images on legacy_sync.run (entity_id, finished_at) where images_removed_at is null;
create index run_that_undid on legacy_sync.run using gin (undoes) where undoes is not null;

-- undo: values set back; redo: values of an undo set back; remove, return: a row that an undo removed or brought back.
-- taken_back: the kind of the first change behind it (of a redo the same as of its undo).
alter table legacy_sync.change drop constraint change_kind_check;
alter table legacy_sync.change add constraint change_kind_check
    check (kind in ('update', 'adopt', 'delete', 'backfill', 'create', 'derive', 'refresh', 'relink',
                    'undo', 'redo', 'remove', 'return'));
alter table legacy_sync.change add column taken_back text;

-- When a person took back what a deletion did to the row: as long as the record stays gone, the row stays.
alter table legacy_sync.binding add column kept_at timestamptz;

-- Values that an undo took out of rows of other entities; the same value is not written there again.
create table legacy_sync.held (
    erp_table   text not null,
    erp_key     text not null,
    column_name text not null,
    value       text,
    run_id      bigint not null,
    primary key (erp_table, erp_key, column_name)
);
