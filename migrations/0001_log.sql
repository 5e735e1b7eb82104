-- The log. One row for every event, written in the transaction of its producer, never updated, never deleted.
-- The word `postrider` is the name of the schema; the migrator replaces it when another name is configured.

-- UUID version 7 (RFC 9562, section 5.7): 48 bits of milliseconds, the digit 7, 12 bits of the fraction (section 6.2,
-- method 3), 62 random bits. So new ids land on the right edge of their index, and those of a session follow its inserts.
create function postrider.uuidv7() returns uuid
  language sql volatile parallel safe
  return (
    overlay(lpad(to_hex((date_part('epoch', clock_timestamp()) * 4096000)::bigint), 15, '0') placing '7' from 13 for 0)
    || substr(gen_random_uuid()::text, 20))::uuid;

-- Which of the 256 buckets a key falls into. By SHA-256, so that it is the same on every version and platform, for ever.
-- (Stable as its convert_to is, so that it is put into the statement that calls it.)
create function postrider.bucket_of(key text) returns smallint
  language sql stable strict parallel safe
  return get_byte(sha256(convert_to(key, 'UTF8')), 0)::smallint;

-- Lanes cut the buckets into contiguous ranges.
create function postrider.lane_of(bucket smallint, lanes smallint) returns smallint
  language sql immutable strict parallel safe
  return (bucket::int * lanes / 256)::smallint;

-- The segment that is written now. A function, so that the ring can be cut anew without a lock on the table.
create function postrider.current_slot() returns smallint
  language sql volatile parallel safe
  return ((extract(epoch from clock_timestamp())::bigint / 86400) % 8)::smallint;

create table postrider.events (
  -- xid stands first: a transaction has its id before it draws a position.
  xid           xid8        not null default pg_current_xact_id(),
  position      bigint      not null generated always as identity,
  id            uuid        not null default postrider.uuidv7(),
  created_at    timestamptz not null default clock_timestamp(),
  slot          smallint    not null default postrider.current_slot(),
  bucket        smallint    not null,
  type          text        not null,
  key           text,
  source        text        not null,
  subject       text,
  tenant        text,
  time          timestamptz,
  deliver_at    timestamptz,
  expires_at    timestamptz,
  content_type  text        not null,
  headers       jsonb       not null default '{}',
  payload       jsonb,
  payload_bytes bytea,
  -- The bucket, so that a lane passes over the events of others without a look at them.
  primary key (position, bucket, slot)
) partition by list (slot);
-- (No CHECK: PostgreSQL reads the text of each anew for every insert, a fifth of what the insert costs. What is in the log
-- comes through `emit`, or through `import_letters`, which see to it that a bucket is one and that there is one payload.)

comment on table postrider.events is 'The log: one immutable row per event. A ring of segments by time; a segment that every sink has passed is emptied whole.';
comment on column postrider.events.xid is 'Transaction that wrote it; with a snapshot it tells whether a cursor has passed it.';
comment on column postrider.events.position is 'Place in the log, drawn at the insert: for writers that share a row lock this is the order of their commits.';
comment on column postrider.events.bucket is 'Hash of the key (random without a key), 0 to 255; the lanes of a sink share out the buckets.';
comment on column postrider.events.time is 'When it happened, if the producer said so; else created_at counts.';
comment on column postrider.events.deliver_at is 'Not before this time; null means at once.';
comment on column postrider.events.expires_at is 'Not after this time; null means for ever.';
comment on column postrider.events.slot is 'Segment of the ring; -1 for an event that was kept because somebody still waits for it when its segment was emptied.';

create index events_xid on postrider.events (xid, position, bucket);
create index events_id on postrider.events (id);

do $$ begin
  for slot in 0..7 loop
    execute format('create table postrider.events_%s partition of postrider.events for values in (%s)', slot, slot);
  end loop;
end $$;
-- Events that are still needed when their segment is emptied are moved here.
create table postrider.events_kept partition of postrider.events for values in (-1);

-- The first position whose event was written at this time or later; null when there is none yet. Positions and times are
-- drawn together, so a search in halves finds it.
create function postrider.position_at(at timestamptz) returns bigint
  language plpgsql stable set search_path = pg_catalog, pg_temp as
$$
declare
  low bigint := (select e.position from postrider.events as e where e.slot >= 0 order by e.position limit 1);
  high bigint := (select e.position + 1 from postrider.events as e where e.slot >= 0 order by e.position desc limit 1);
  middle bigint;
  next record; -- the first event from the middle on
begin
  while low < high loop
    middle := low + (high - low) / 2;
    select e.position, e.created_at into next from postrider.events as e where e.position >= middle and e.slot >= 0 order by e.position limit 1;
    if next.created_at >= at then
      high := middle;
    else
      low := next.position + 1;
    end if;
  end loop;
  return (select e.position from postrider.events as e where e.position >= low and e.slot >= 0 order by e.position limit 1);
end
$$;

-- Which cluster the stored snapshots and transaction ids belong to: in another one they mean nothing. A logical restore
-- writes this row anew, by another transaction and into another table: that is how a copy is known, even beside the original.
create table postrider.meta (
  only_one          boolean primary key default true check (only_one),
  system_identifier bigint  not null,
  xid               xid8    not null default pg_current_xact_id(),
  table_id          oid     not null,
  restored_position bigint  not null default 0
);
comment on column postrider.meta.xid is 'Transaction that wrote this row; with table_id, the table that it wrote into.';
comment on column postrider.meta.restored_position is 'Events at or below this position came from elsewhere by a restore: their xid says nothing here.';
insert into postrider.meta (system_identifier, table_id) select system_identifier, 'postrider.meta'::regclass from pg_control_system();
