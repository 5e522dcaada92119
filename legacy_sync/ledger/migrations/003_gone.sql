-- Records that are gone are few and looked for in every run.
create index binding_missing on legacy_sync.binding (entity_id) where missing_since is not null;
