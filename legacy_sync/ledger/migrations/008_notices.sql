-- The kind of the error that ended a run, such as GuardTripped.
alter table legacy_sync.run add column failure text;

-- Fetches that failed before a run of the entity began, until one succeeds.
create table legacy_sync.fetch_failure (
    entity_id      integer primary key references legacy_sync.entity,
    failure        text not null,
    message        text not null,
    since          timestamptz not null default clock_timestamp(),
    failed_at      timestamptz not null default clock_timestamp(),
    tries          integer not null default 1,
    is_own         boolean not null default false, -- its source had answered others between the tries
    dagster_run_id text
);

-- The last outage of each source; it is over when answered_at is later than since.
create table legacy_sync.outage (
    source      text primary key,
    message     text not null,
    since       timestamptz not null default clock_timestamp(),
    answered_at timestamptz
);

-- When each channel of the notifications was reached last, and since when it cannot be.
create table legacy_sync.channel (
    name         text primary key,
    sent_at      timestamptz,
    failed_since timestamptz,
    failure      text
);

-- What each channel was told, or has still to be told, of one situation. A situation whose end was told is deleted.
create table legacy_sync.notice (
    channel   text not null references legacy_sync.channel on delete cascade,
    kind      text not null,
    about     text not null,
    headline  text not null,
    since     timestamptz not null,
    size      bigint not null,
    told_at   timestamptz, -- null: not told yet
    told_size bigint not null default 0,
    is_held   boolean not null default false, -- had to be told at a look and could not be
    ended_at  timestamptz,
    primary key (channel, kind, about)
);
