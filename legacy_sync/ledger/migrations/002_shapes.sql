-- Further attributes that name a legacy record, for references of other tables.
create table legacy_sync.other_key (
    entity_id  integer not null references legacy_sync.entity,
    name       text not null,
    value      text not null,
    legacy_key text not null,
    primary key (entity_id, name, value, legacy_key)
);
create index other_key_by_record on legacy_sync.other_key (entity_id, legacy_key);

-- Which number a record has among those that the ERP could not tell apart; once given it stays.
create table legacy_sync.suffix (
    entity_id  integer not null references legacy_sync.entity,
    word       integer not null, -- which of the mapping's suffixes
    legacy_key text not null,
    place      text[] not null,
    number     integer not null,
    primary key (entity_id, word, legacy_key),
    unique (entity_id, word, place, number)
);

-- What rows looked for that were loaded without a parent; one value for each way to find it.
create table legacy_sync.unlinked (
    entity_id   integer not null references legacy_sync.entity,
    column_name text not null,
    legacy_key  text not null,
    lookups     text[] not null,
    primary key (entity_id, column_name, legacy_key)
);

-- create: a row made for a reference; derive: a parent's column that follows from its children;
-- refresh: a text made of columns of another table that changed; relink: a parent that came after its child.
alter table legacy_sync.change drop constraint change_kind_check;
alter table legacy_sync.change add constraint change_kind_check
    check (kind in ('update', 'adopt', 'delete', 'backfill', 'create', 'derive', 'refresh', 'relink'));
