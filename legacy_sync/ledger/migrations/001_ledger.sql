-- The memory of the sync. Lives beside the ERP tables so that both commit together.

create table legacy_sync.entity (
    id         integer generated always as identity primary key,
    name       text not null unique,
    newest     bigint not null default 0, -- when the newest rows taken in were fetched, microseconds since 1970
    created_at timestamptz not null default now()
);

-- The order of the columns in the arrays of binding.base, once per set of mapped columns.
create table legacy_sync.column_set (
    id        integer generated always as identity primary key,
    entity_id integer not null references legacy_sync.entity,
    names     text[] not null,
    unique (entity_id, names)
);

create table legacy_sync.run (
    id              bigint generated always as identity primary key,
    entity_id       integer not null references legacy_sync.entity,
    mode            text not null check (mode in ('incremental', 'full', 'replay')),
    partitions      text[] not null default '{}',
    mapping_version text not null,
    started_by      text not null,
    dagster_run_id  text,
    started_at      timestamptz not null default clock_timestamp(),
    finished_at     timestamptz,
    outcome         text not null default 'running'
                    check (outcome in ('running', 'succeeded', 'succeeded_with_parked', 'failed')),
    counts          jsonb not null default '{}',
    report          jsonb not null default '{}',
    message         text
);
create index run_by_entity on legacy_sync.run (entity_id, id desc);

-- Which legacy record is which ERP row, and what both sides last agreed on.
-- base: the legacy values last taken in; erp_base: the ERP values last agreed on where they differ from base, else null.
create table legacy_sync.binding (
    entity_id     integer not null,
    legacy_key    text not null,
    erp_key       text not null,
    column_set_id integer not null,
    base          text[] not null,
    erp_base      text[],
    origin        text not null,
    fetched       bigint not null,
    created_run   bigint not null,
    changed_run   bigint not null,
    missing_since timestamptz,
    primary key (entity_id, legacy_key)
);

-- Before and after of every written row. An insert needs none: its row is binding.base with binding.created_run.
create table legacy_sync.change (
    id         bigint generated always as identity primary key,
    run_id     bigint not null references legacy_sync.run,
    entity_id  integer not null,
    erp_table  text not null,
    legacy_key text not null,
    erp_key    text not null,
    kind       text not null check (kind in ('update', 'adopt', 'delete', 'backfill')),
    columns    text[] not null,
    before     text[] not null,
    after      text[] not null
);
create index change_by_run on legacy_sync.change (run_id);
create index change_by_row on legacy_sync.change (entity_id, legacy_key);

-- open: not in the ERP. watching: loaded, but a reference was found by a second choice and the first may still arrive.
create table legacy_sync.quarantine (
    id              bigint generated always as identity primary key,
    entity_id       integer not null references legacy_sync.entity,
    legacy_key      text not null,
    status          text not null default 'open' check (status in ('open', 'watching', 'loaded', 'discarded')),
    reason          text not null,
    column_name     text,
    value           text,
    message         text not null,
    row             json not null,
    fetched         bigint not null,
    partition       text not null,
    mapping_version text not null,
    first_run       bigint not null,
    last_run        bigint not null,
    parked_at       timestamptz not null default now(),
    closed_at       timestamptz,
    closed_by       text,
    comment         text
);
create unique index quarantine_open on legacy_sync.quarantine (entity_id, legacy_key) where status in ('open', 'watching');
create index quarantine_by_entity on legacy_sync.quarantine (entity_id, status, id);

create table legacy_sync.conflict (
    id           bigint generated always as identity primary key,
    entity_id    integer not null references legacy_sync.entity,
    legacy_key   text not null,
    erp_key      text not null,
    column_name  text not null,
    base_value   text,
    legacy_value text,
    erp_value    text,
    policy       text not null,
    status       text not null check (status in ('open', 'decided', 'settled')),
    winner       text check (winner in ('legacy', 'erp')),
    first_run    bigint not null,
    last_run     bigint not null,
    detected_at  timestamptz not null default now(),
    closed_at    timestamptz
);
create unique index conflict_open on legacy_sync.conflict (entity_id, legacy_key, column_name) where status = 'open';
create index conflict_by_entity on legacy_sync.conflict (entity_id, status, id);

-- value: the highest cursor seen, ISO. A row without value says that the partition was loaded and had none.
create table legacy_sync.watermark (
    entity_id  integer not null references legacy_sync.entity,
    partition  text not null,
    value      text,
    run_id     bigint not null,
    loaded_at  timestamptz not null default now(),
    primary key (entity_id, partition)
);

-- Which landed fetches an entity has taken in.
create table legacy_sync.loaded_fetch (
    entity_id integer not null references legacy_sync.entity,
    partition text not null,
    fetch_id  text not null,
    run_id    bigint not null,
    primary key (entity_id, partition, fetch_id)
);
