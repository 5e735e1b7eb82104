-- Trouble and the audit trail. The straight road never writes to deliveries.

create table postrider.deliveries (
  sink         text        not null,
  lane         smallint    not null,
  position     bigint      not null,
  slot         smallint    not null,
  event_id     uuid        not null,
  key          text,
  state        text        not null constraint deliveries_state check (state in ('scheduled', 'retrying', 'blocked', 'held', 'dead')),
  attempts     int         not null default 0,
  forgiven     int         not null default 0,
  available_at timestamptz not null default clock_timestamp(),
  error_code   text,
  error        text,
  since        timestamptz not null default clock_timestamp(),
  operation_id bigint,
  primary key (sink, position)
) with (fillfactor = 70);
comment on table postrider.deliveries is 'Trouble: an event that must wait at one sink. The row goes when the event is delivered or discarded.';
comment on column postrider.deliveries.attempts is 'Attempts so far; those that an operator wrote off by a retry are in forgiven.';
comment on column postrider.deliveries.available_at is 'Next attempt, for scheduled and retrying rows.';
comment on column postrider.deliveries.since is 'In this state since.';

create index deliveries_due on postrider.deliveries (sink, lane, available_at) where state in ('scheduled', 'retrying');
create index deliveries_key on postrider.deliveries (sink, key, position) where key is not null;
-- What stands in the way of a key's blocked rows; small, however many wait behind.
create index deliveries_heads on postrider.deliveries (sink, key) where state in ('retrying', 'held', 'dead');
create index deliveries_event on postrider.deliveries (event_id);
create index deliveries_dead on postrider.deliveries (sink, since) where state = 'dead';

create table postrider.attempts (
  sink        text        not null,
  position    bigint      not null,
  slot        smallint    not null,
  event_id    uuid        not null,
  attempt     int         not null,
  outcome     text        not null constraint attempts_outcome check (outcome in ('delivered', 'retry', 'throttled', 'reject', 'retried', 'discarded')),
  error_code  text,
  error       text,
  status      int,
  started_at  timestamptz not null,
  duration_ms real        not null,
  relay       uuid,
  detail      jsonb
) partition by list (slot);
comment on table postrider.attempts is 'The audit trail: one row for every attempt, and for what operators did (retried, discarded). Append-only.';
create index attempts_position on postrider.attempts (position);

do $$ begin
  for slot in 0..7 loop
    execute format('create table postrider.attempts_%s partition of postrider.attempts for values in (%s)', slot, slot);
  end loop;
end $$;

-- Whoever changes what stands in the way of keys takes this first, until the end of the transaction:
-- a relay that blocks an event and an operator who removes its head must not miss each other.
create function postrider.lock_trouble(sink text, lane smallint) returns void
  language sql volatile
  begin atomic
    select pg_advisory_xact_lock(hashtextextended('postrider.trouble:' || sink || ':' || lane, 0));
  end;

-- Lets the first blocked event of each key go, where nothing earlier of the key is in the way. Idempotent.
create function postrider.release_heads(sink text, keys text[]) returns void
  language sql volatile
  begin atomic
    update postrider.deliveries as head
    set state = 'retrying', available_at = clock_timestamp(), since = clock_timestamp()
    from unnest(keys) as wanted (key)
    cross join lateral (
      select d.position from postrider.deliveries as d
      where d.sink = release_heads.sink and d.key = wanted.key and d.state = 'blocked'
      order by d.position limit 1
    ) as first_blocked
    where head.sink = release_heads.sink and head.position = first_blocked.position
      and not exists (
        select from postrider.deliveries as d
        where d.sink = release_heads.sink and d.key = wanted.key
          and (d.state in ('retrying', 'held')
               or d.state = 'dead' and (select s.on_dead from postrider.sinks as s where s.name = d.sink) = 'block'));
  end;

-- A dead letter goes out again, with the same id and a fresh count of attempts. Returns how many sinks it concerns.
create function postrider.retry(event_id uuid, sink text default null, actor text default current_user) returns int
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
  retried int;
begin
  perform postrider.lock_trouble(d.sink, d.lane)
  from (select * from postrider.deliveries as t where t.event_id = retry.event_id order by t.sink, t.lane) as d;
  with again as (
    update postrider.deliveries as d
    set state = 'retrying', forgiven = d.attempts, available_at = clock_timestamp(), since = clock_timestamp()
    where d.event_id = retry.event_id and d.state = 'dead' and d.sink = coalesce(retry.sink, d.sink)
    returning d.*
  )
  insert into postrider.attempts (sink, position, slot, event_id, attempt, outcome, started_at, duration_ms, detail)
  select a.sink, a.position, a.slot, a.event_id, a.attempts, 'retried', clock_timestamp(), 0, jsonb_build_object('actor', actor)
  from again as a;
  get diagnostics retried = row_count;
  notify postrider, 'due';
  return retried;
end
$$;

-- A delivery is given up, with who and why; later events of its key go on. Returns how many sinks it concerns.
create function postrider.discard(event_id uuid, reason text, sink text default null, actor text default current_user) returns int
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
  discarded int := 0;
  gone record;
begin
  perform postrider.lock_trouble(d.sink, d.lane)
  from (select * from postrider.deliveries as t where t.event_id = discard.event_id order by t.sink, t.lane) as d;
  for gone in
    delete from postrider.deliveries as d
    where d.event_id = discard.event_id and d.sink = coalesce(discard.sink, d.sink)
    returning d.*
  loop
    discarded := discarded + 1;
    insert into postrider.attempts (sink, position, slot, event_id, attempt, outcome, started_at, duration_ms, detail)
    values (gone.sink, gone.position, gone.slot, gone.event_id, gone.attempts, 'discarded', clock_timestamp(), 0,
            jsonb_build_object('actor', actor, 'reason', reason));
    if gone.key is not null then
      perform postrider.release_heads(gone.sink, array[gone.key]);
    end if;
  end loop;
  notify postrider, 'due';
  return discarded;
end
$$;
