-- How an entity's legacy table was described when its mapping last fitted it, so that a change is noticed.
create table legacy_sync.seen_table (
    entity_id integer primary key references legacy_sync.entity,
    name      text not null,
    types     jsonb not null, -- the source's word for the type, by attribute
    seen_at   timestamptz not null default now()
);
