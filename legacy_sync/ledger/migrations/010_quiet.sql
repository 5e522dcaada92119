-- When a look at the source found last that there is nothing to fetch for the entity.
alter table legacy_sync.entity add column quiet_at timestamptz;
