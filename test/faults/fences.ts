/**
 * Watches, in the database itself, who writes what is of a lane: journals are pruned, and what a stale owner wrote would go with
 * them. A session is known by its name, and a lane's owner by the row that says so, in the same snapshot. What is rolled back
 * leaves nothing here either.
 */
import type pg from 'pg'

export const fenceAudit = `
  create table fence_relays (name text primary key, id uuid not null);
  create table fence_checkpoints (sink text, relay uuid, xid bigint);
  create table fence_breaches (what text);
  create table fence_parked (sink text, lane smallint, events bigint);

  create function session_relay() returns uuid language sql stable security definer set search_path = pg_catalog, pg_temp
    return (select r.id from public.fence_relays as r where r.name = substring(current_setting('application_name') from '^postrider (\\S+)'));

  create function know_relay() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
  begin
    insert into public.fence_relays (name, id) values (new.name, new.id) on conflict do nothing;
    return null;
  end $$;
  create trigger fence_audit after insert on postrider.relays for each row execute function know_relay();

  -- A cursor is moved, and taken over, by the owner of its lane.
  create function watch_checkpoint() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
  declare
    owner uuid := (select l.relay from postrider.lanes as l where l.sink = new.sink and l.lane = new.lane);
  begin
    -- Rows carry the lower 32 bits of the transaction that wrote them.
    insert into public.fence_checkpoints values (new.sink, new.relay, pg_current_xact_id()::text::numeric % 4294967296);
    if owner is distinct from new.relay then
      insert into public.fence_breaches values (format('checkpoint %s of %s/%s by %s, when it was of %s', new.fence, new.sink, new.lane, new.relay, owner));
    end if;
    return null;
  end $$;
  create trigger fence_audit after insert on postrider.checkpoints for each row when (new.relay is not null) execute function watch_checkpoint();

  -- A lane is written by its owner, or taken when nobody's lease holds.
  create function watch_lane() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
  declare
    me uuid := public.session_relay();
  begin
    if me is not null and old.relay is distinct from me and not (new.relay is not distinct from me and old.leased_until < clock_timestamp()) then
      insert into public.fence_breaches values (format('lane %s/%s of %s, to %s, by %s', old.sink, old.lane, old.relay, new.relay, me));
    end if;
    -- It did not give the lane back: what it had in flight beyond its page stands there as slow.
    if old.relay is distinct from new.relay and new.relay is not distinct from me then
      insert into public.fence_parked select old.sink, old.lane, count(*) from postrider.deliveries as d
      where d.sink = old.sink and d.lane = old.lane and d.error_code = 'slow' having count(*) > 0;
    end if;
    return null;
  end $$;
  create trigger fence_audit after update on postrider.lanes for each row execute function watch_lane();

  -- And so are its rows of trouble.
  create function watch_delivery() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
  declare
    me uuid := public.session_relay();
    one postrider.deliveries := case when tg_op = 'DELETE' then old else new end;
    owner uuid := (select l.relay from postrider.lanes as l where l.sink = one.sink and l.lane = one.lane);
  begin
    if me is not null and owner is distinct from me then
      insert into public.fence_breaches values (format('%s of delivery %s/%s %s by %s, when it was of %s', tg_op, one.sink, one.lane, one.position, me, owner));
    end if;
    return null;
  end $$;
  create trigger fence_audit after insert or update or delete on postrider.deliveries for each row execute function watch_delivery();`

/** What was written without the right to; every line is a broken fence. */
export async function staleWrites(client: pg.Client): Promise<string[]> {
  const { rows: breaches } = await client.query<{ what: string }>('select what from fence_breaches')
  // An attempt is recorded by the very transaction that moved a cursor of the same relay.
  const { rows: attempts } = await client.query<{ what: string }>(`
    select format('attempt %s at %s by %s, without a checkpoint', a.attempt, a.event_id, a.relay) as what
    from postrider.attempts as a
    where a.relay is not null and not exists (
      select from fence_checkpoints as c where c.relay = a.relay and c.sink = a.sink and c.xid = a.xmin::text::bigint
    ) limit 20`)
  return [...breaches, ...attempts].map(({ what }) => what)
}

/** How many events were in flight beyond their page, parked as slow, when their lane got another owner. */
export async function parked(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ events: number }>('select coalesce(sum(events), 0)::int as events from fence_parked')
  return rows[0]?.events ?? 0
}

/** Attempts of which it was recorded that they failed. */
export async function failedAttempts(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ failed: number }>(
    `select count(*)::int as failed from postrider.attempts where outcome <> 'delivered'`,
  )
  return rows[0]?.failed ?? 0
}

/** How many relays and checkpoints were watched: where there are none, nothing was proven. */
export async function watched(client: pg.Client): Promise<{ readonly relays: number; readonly checkpoints: number }> {
  const { rows } = await client.query<{ relays: number; checkpoints: number }>(
    'select (select count(*)::int from fence_relays) as relays, (select count(*)::int from fence_checkpoints) as checkpoints',
  )
  return rows[0] ?? { relays: 0, checkpoints: 0 }
}
