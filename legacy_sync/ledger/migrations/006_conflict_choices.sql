-- Conflicts that a person settles. A conflict keeps the values it was found with: when a side changes while it waits,
-- it is closed and another one follows it, so that a choice always means the values its maker saw.
-- sort: value: both sides changed a column; gone_in_legacy: deleted there, edited in the ERP; gone_in_erp: the reverse.
-- The latter two are about a whole row: column_name is empty, the values are in conflict_cell.
alter table legacy_sync.conflict
    add column sort         text not null default 'value' check (sort in ('value', 'gone_in_legacy', 'gone_in_erp')),
    add column is_first     boolean not null default false, -- the two sides never agreed on a value of this column
    add column choice       text check (choice in ('legacy', 'erp', 'value')),
    add column chosen_value text,
    add column chosen_by    text,
    add column chosen_at    timestamptz,
    add column comment      text,
    add column refusal      text,   -- why the last choice could not be carried out
    add column decided_by   text,   -- the policy, the person or the later change that closed it
    add column follows      bigint; -- the conflict that was closed since a side changed once more
alter table legacy_sync.conflict drop constraint conflict_winner_check;
alter table legacy_sync.conflict add constraint conflict_winner_check check (winner in ('legacy', 'erp', 'value'));
create index conflict_chosen on legacy_sync.conflict (entity_id) where status = 'open' and choice is not null;
create index conflict_by_record on legacy_sync.conflict (entity_id, legacy_key, id);
update legacy_sync.conflict set decided_by = 'policy ' || policy where status = 'decided';
update legacy_sync.conflict set decided_by = 'a later change' where status = 'settled';

-- The values of a conflict about a whole row: the columns that one side changed since.
create table legacy_sync.conflict_cell (
    conflict_id  bigint not null references legacy_sync.conflict on delete cascade,
    column_name  text not null,
    base_value   text,
    legacy_value text,
    erp_value    text,
    primary key (conflict_id, column_name)
);

-- The newest copy of the records that open conflicts are about, to load them with a choice.
create table legacy_sync.conflict_record (
    entity_id  integer not null references legacy_sync.entity,
    legacy_key text not null,
    row        json not null,
    fetched    bigint not null,
    primary key (entity_id, legacy_key)
);

-- Rows that were deleted in the ERP and whose record changed were parked; now they are conflicts.
with moved as (
  delete from legacy_sync.quarantine where reason = 'erp_row_deleted' and status = 'open' returning *
), made as (
  insert into legacy_sync.conflict
    (entity_id, sort, legacy_key, erp_key, column_name, policy, status, first_run, last_run, detected_at)
  select entity_id, 'gone_in_erp', legacy_key, value, '', 'manual', 'open', first_run, last_run, parked_at from moved
)
insert into legacy_sync.conflict_record (entity_id, legacy_key, row, fetched)
select entity_id, legacy_key, row, fetched from moved;
