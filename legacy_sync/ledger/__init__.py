"""The memory of the sync, in the schema `legacy_sync` of the ERP database; the only folder that owns tables."""
