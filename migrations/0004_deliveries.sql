-- Trouble and the audit trail. The straight road never writes to deliveries.

-- Failures of one cause have one fingerprint: sink, class, status, and the message without what differs from case to case.
create function postrider.fingerprint(sink text, error_code text, status int, error text) returns text
  language sql immutable parallel safe
  return left(md5(coalesce(sink, '') || '|' || coalesce(error_code, '') || '|' || coalesce(status::text, '') || '|' || regexp_replace(
    regexp_replace(coalesce(error, ''), $re$"[^"]*"|'[^']*'$re$, '…', 'g'),
    '[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|[0-9a-fA-F]{12,}|[0-9]+', '#', 'g')), 12);

create table postrider.deliveries (
  sink         text        not null,
  lane         smallint    not null,
  position     bigint      not null,
  slot         smallint    not null,
  event_id     uuid        not null,
  key          text,
  state        text        not null constraint deliveries_state check (state in ('scheduled', 'retrying', 'blocked', 'dead')),
  parked       boolean     not null default false constraint deliveries_parked check (state = 'dead' or not parked),
  attempts     int         not null default 0,
  forgiven     int         not null default 0,
  available_at timestamptz not null default clock_timestamp(),
  error_code   text,
  error        text,
  status       int,
  since        timestamptz not null default clock_timestamp(),
  first_tried_at timestamptz,
  operation_id bigint,
  fingerprint  text        generated always as (case when state = 'dead' then postrider.fingerprint(sink, error_code, status, error) end) stored,
  primary key (sink, position)
) with (fillfactor = 70);
comment on table postrider.deliveries is 'Trouble: an event that must wait at one sink. The row goes when the event is delivered, discarded or expired.';
comment on column postrider.deliveries.parked is 'A dead letter that later events of its key have passed, or may pass.';
comment on column postrider.deliveries.attempts is 'Attempts so far; those that an operator wrote off by a retry are in forgiven.';
comment on column postrider.deliveries.available_at is 'Next attempt, for scheduled and retrying rows.';
comment on column postrider.deliveries.status is 'Status of the last answer, such as an HTTP status.';
comment on column postrider.deliveries.first_tried_at is 'First attempt, or the first since an operator sent it again; the maximum age of a retry counts from here.';
comment on column postrider.deliveries.since is 'In this state since.';
comment on column postrider.deliveries.operation_id is 'The operation that sends this event once more.';
comment on column postrider.deliveries.fingerprint is 'Dead letters of one cause share it.';

create index deliveries_due on postrider.deliveries (sink, lane, available_at) where state in ('scheduled', 'retrying');
-- What waits behind a key, in order; and its heads, which stand in the way: few, however many wait behind. Two indexes
-- that share no row, so that a look for heads, found or not, never walks over those that wait.
create index deliveries_blocked on postrider.deliveries (sink, key, position) where state = 'blocked';
create index deliveries_heads on postrider.deliveries (sink, key, position) where state in ('retrying', 'dead') and not parked;
create index deliveries_event on postrider.deliveries (event_id);
-- How many there are of a state, and the oldest; dead letters also across sinks, and by cause.
create index deliveries_state on postrider.deliveries (sink, state, since);
create index deliveries_dead on postrider.deliveries (since, position) where state = 'dead';
create index deliveries_fingerprint on postrider.deliveries (fingerprint, position) where state = 'dead';
create index deliveries_operation on postrider.deliveries (operation_id) where operation_id is not null;

create table postrider.attempts (
  sink        text        not null,
  position    bigint      not null,
  slot        smallint    not null,
  event_id    uuid        not null,
  attempt     int         not null,
  outcome     text        not null constraint attempts_outcome check (outcome in ('delivered', 'retry', 'throttled', 'reject', 'gone', 'expired', 'retried', 'discarded')),
  error_code  text,
  error       text,
  status      int,
  started_at  timestamptz not null,
  duration_ms real        not null,
  relay       uuid,
  detail      jsonb
) partition by list (slot);
comment on table postrider.attempts is 'The audit trail: one row for every attempt, and for what ended or renewed a delivery without one (expired, retried, discarded). Append-only.';
create index attempts_position on postrider.attempts (position);

do $$ begin
  for slot in 0..7 loop
    execute format('create table postrider.attempts_%s partition of postrider.attempts for values in (%s)', slot, slot);
  end loop;
end $$;
create table postrider.attempts_kept partition of postrider.attempts for values in (-1);

create table postrider.appends (
  slot         smallint not null,
  sink         text     not null,
  lane         smallint not null,
  topic        text     not null,
  partition    int      not null,
  first_offset bigint   not null,
  positions    bigint[] not null
) partition by list (slot);
comment on table postrider.appends is 'Where events stand in a destination that keeps a log of its own: the event at positions[n] has the offset first_offset + n - 1. Append-only.';
create index appends_at on postrider.appends (sink, topic, partition, first_offset);

do $$ begin
  for slot in 0..7 loop
    execute format('create table postrider.appends_%s partition of postrider.appends for values in (%s)', slot, slot);
  end loop;
end $$;
create table postrider.appends_kept partition of postrider.appends for values in (-1);

-- Whoever changes what stands in the way of keys takes this first, until the end of the transaction: a relay that blocks
-- an event and an operator who removes its head must not miss each other. What it guards is read by the statements after
-- it, so the transaction must be READ COMMITTED: a snapshot taken before the lock would hide what the other has done.
create function postrider.lock_trouble(sink text, lane smallint) returns void
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
begin
  if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
    raise exception using
      errcode = 'invalid_transaction_state',
      message = 'trouble can be changed in READ COMMITTED transactions only, this one is ' || upper(current_setting('transaction_isolation')),
      hint = 'begin isolation level read committed';
  end if;
  perform pg_advisory_xact_lock(hashtextextended('postrider.trouble:' || sink || ':' || lane, 0));
end
$$;

-- Lets the first blocked event of each key go, where no head of the key is in its way: an earlier one, for operators may have
-- left letters dead that stand behind it. Idempotent.
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
        where d.sink = release_heads.sink and d.key = wanted.key and d.state in ('retrying', 'dead') and not d.parked
          and d.position < first_blocked.position);
  end;

-- The rules of a sink have changed: what waits by the old ones, and by the new ones need not, goes on.
create function postrider.release_needless(sink postrider.sinks) returns void
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
  keys text[];
begin
  for lane in 0 .. sink.lanes - 1 loop
    perform postrider.lock_trouble(sink.name, lane::smallint);
  end loop;
  if sink.ordering = 'none' or sink.on_dead <> 'block' then
    with let_pass as (
      update postrider.deliveries as d set parked = true
      where d.sink = sink.name and d.state = 'dead' and not d.parked
      returning d.key
    )
    select array_agg(distinct p.key) into keys from let_pass as p where p.key is not null;
  end if;
  if sink.ordering = 'none' then
    update postrider.deliveries as d
    set state = 'retrying', available_at = clock_timestamp(), since = clock_timestamp()
    where d.sink = sink.name and d.state = 'blocked';
  elsif keys is not null then
    perform postrider.release_heads(sink.name, keys);
  end if;
end
$$;

-- A dead letter goes out again, with the same id and a fresh count of attempts. Returns how many sinks it concerns.
create function postrider.retry(event_id uuid, sink text default null, actor text default current_user) returns int
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
  dead record;
  retried int := 0;
begin
  for dead in
    select d.sink, d.lane, d.position from postrider.deliveries as d
    where d.event_id = retry.event_id and d.sink = coalesce(retry.sink, d.sink) and d.state = 'dead'
    order by d.sink, d.lane, d.position
  loop
    perform postrider.lock_trouble(dead.sink, dead.lane);
    with again as (
      update postrider.deliveries as d
      set state = 'retrying', parked = false, forgiven = d.attempts, first_tried_at = null, available_at = clock_timestamp(), since = clock_timestamp()
      where d.sink = dead.sink and d.position = dead.position and d.state = 'dead'
      returning d.*
    )
    insert into postrider.attempts (sink, position, slot, event_id, attempt, outcome, started_at, duration_ms, detail)
    select a.sink, a.position, a.slot, a.event_id, a.attempts, 'retried', clock_timestamp(), 0, jsonb_build_object('actor', actor)
    from again as a;
    if found then
      retried := retried + 1;
    end if;
  end loop;
  if retried > 0 then
    notify postrider, 'due';
  end if;
  return retried;
end
$$;

-- A delivery is given up, with who and why; later events of its key go on. Returns how many sinks it concerns.
create function postrider.discard(event_id uuid, reason text, sink text default null, actor text default current_user) returns int
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
  waiting record;
  gone postrider.deliveries;
  discarded int := 0;
begin
  for waiting in
    select d.sink, d.lane, d.position from postrider.deliveries as d
    where d.event_id = discard.event_id and d.sink = coalesce(discard.sink, d.sink)
    order by d.sink, d.lane, d.position
  loop
    perform postrider.lock_trouble(waiting.sink, waiting.lane);
    delete from postrider.deliveries as d where d.sink = waiting.sink and d.position = waiting.position returning d.* into gone;
    continue when not found;
    discarded := discarded + 1;
    insert into postrider.attempts (sink, position, slot, event_id, attempt, outcome, started_at, duration_ms, detail)
    values (gone.sink, gone.position, gone.slot, gone.event_id, gone.attempts, 'discarded', clock_timestamp(), 0,
            jsonb_build_object('actor', actor, 'reason', reason));
    if gone.key is not null then
      perform postrider.release_heads(gone.sink, array[gone.key]);
    end if;
  end loop;
  if discarded > 0 then
    notify postrider, 'due';
  end if;
  return discarded;
end
$$;

-- The dead head of a key steps aside: it stays a dead letter, and later events of the key go on. Returns how many heads did.
create function postrider.release_key(sink text, key text, reason text, actor text default current_user) returns int
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
  nr smallint;
  heads uuid[];
begin
  select postrider.lane_of(postrider.bucket_of(release_key.key), s.lanes) into nr from postrider.sinks as s where s.name = release_key.sink;
  if not found then
    return 0;
  end if;
  perform postrider.lock_trouble(sink, nr);
  with aside as (
    update postrider.deliveries as d set parked = true
    where d.sink = release_key.sink and d.key = release_key.key and d.state = 'dead' and not d.parked
    returning d.event_id, d.position
  )
  select array_agg(a.event_id order by a.position) into heads from aside as a;
  if heads is null then
    return 0;
  end if;
  insert into postrider.actions (actor, action, sink, reason, detail)
  values (release_key.actor, 'released', release_key.sink, release_key.reason, jsonb_build_object('key', release_key.key, 'events', heads));
  perform postrider.release_heads(release_key.sink, array[release_key.key]);
  notify postrider, 'due';
  return cardinality(heads);
end
$$;

-- The head of a key, dead or retrying, is given up; the next event of the key goes on. Returns its id, or null without a head.
create function postrider.skip_key(sink text, key text, reason text, actor text default current_user) returns uuid
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
  head uuid;
begin
  select d.event_id into head from postrider.deliveries as d
  where d.sink = skip_key.sink and d.key = skip_key.key and d.state in ('retrying', 'dead') and not d.parked
  order by d.position limit 1;
  if found and postrider.discard(head, skip_key.reason, skip_key.sink, skip_key.actor) > 0 then
    return head;
  end if;
  return null;
end
$$;
