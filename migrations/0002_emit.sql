-- emit: the one door into the log, for every language. Takes one event or an array of events, returns their ids.
--
--   select postrider.emit('{"type": "order.placed", "key": "o-1", "payload": {"total": 3}}');
--
-- Attributes of an event: type (required), id, key, source, subject, tenant, payload, payload_base64, content_type,
-- headers, time, deliver_at, order. With "order": "commit" the key is locked until the end of the transaction, so that
-- positions follow the order of commits even for writers that share no row lock.
--
-- Errors: PR001 invalid_event, PR002 invalid_payload, PR003 payload_too_large; DETAIL is JSON {index, path, limit}.
-- A transaction that will be prepared (two-phase commit) must not NOTIFY: it says `set local postrider.wake = off` first.

-- The first header that breaks a rule, or null.
create function postrider.faulty_header(headers jsonb) returns text
  language sql immutable parallel safe
  return case
    when jsonb_typeof(headers) <> 'object' then ''
    when (select count(*) from jsonb_object_keys(headers)) > 32 then ''
    else (
      select key from jsonb_each(headers)
      where jsonb_typeof(value) <> 'string' or length(key) > 128 or key !~ '^[a-z0-9!#$%&''*+.^_`|~-]+$'
         or key ~ '^(webhook-|ce-|postrider-)' or length(value #>> '{}') > 4096 or (value #>> '{}') !~ '^[\x20-\x7E\t]*$'
      limit 1)
  end;

-- What is wrong with an event, as `code|path|limit|message`, or null. A chain, so that the first broken rule is named.
create function postrider.fault_of(event jsonb) returns text
  language sql immutable parallel safe
  return case
    when jsonb_typeof(event) <> 'object' then 'PR001|||an event is a JSON object'
    when event - array['id', 'type', 'key', 'source', 'subject', 'tenant', 'payload', 'payload_base64', 'content_type', 'headers', 'time', 'deliver_at', 'order'] <> '{}'
      then 'PR001|||unknown attribute in ' || (event - array['id', 'type', 'key', 'source', 'subject', 'tenant', 'payload', 'payload_base64', 'content_type', 'headers', 'time', 'deliver_at', 'order'])::text
    when event ->> 'type' is null or length(event ->> 'type') > 128 or event ->> 'type' !~ '^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+){0,9}$'
      then 'PR001|type|128|a type is one to ten segments of letters, digits and _, joined by dots'
    when event ->> 'id' !~* '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' then 'PR001|id||an id is a UUID'
    when length(event ->> 'key') not between 1 and 512 then 'PR001|key|512|a key has 1 to 512 characters'
    when length(event ->> 'source') not between 1 and 512 then 'PR001|source|512|a source has 1 to 512 characters'
    when length(event ->> 'subject') not between 1 and 512 then 'PR001|subject|512|a subject has 1 to 512 characters'
    when length(event ->> 'tenant') not between 1 and 512 then 'PR001|tenant|512|a tenant has 1 to 512 characters'
    when length(event ->> 'content_type') not between 1 and 512 then 'PR001|content_type|512|a content type has 1 to 512 characters'
    when event ->> 'order' not in ('insert', 'commit') then 'PR001|order||order is insert or commit'
    when event ->> 'time' !~ '^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d(:?\d\d)?)$'
      then 'PR001|time||a time is an ISO 8601 timestamp with its zone'
    when event ->> 'deliver_at' !~ '^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d(:?\d\d)?)$'
      then 'PR001|deliver_at||a time is an ISO 8601 timestamp with its zone'
    when event ? 'headers' and postrider.faulty_header(event -> 'headers') is not null
      then 'PR001|headers.' || postrider.faulty_header(event -> 'headers') || '||headers are up to 32 lower-case names with text of visible ASCII'
    when event ? 'payload' and event ? 'payload_base64' then 'PR001|payload||an event has a payload or payload_base64, not both'
    when octet_length((event -> 'payload')::text) > 262144 then 'PR003|payload|262144|a payload has at most 262144 bytes'
    when length(event ->> 'payload_base64') > 349528 then 'PR003|payload|262144|a payload has at most 262144 bytes'
  end;

create function postrider.emit(events jsonb) returns setof uuid
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
  fault text[];
  lock_key bigint;
begin
  if jsonb_typeof(events) is distinct from 'array' then
    events := jsonb_build_array(coalesce(events, 'null'));
  end if;

  select string_to_array(found.fault, '|') || (found.nth - 1)::text into fault
  from (
    select nth, postrider.fault_of(event) as fault
    from jsonb_array_elements(events) with ordinality as item (event, nth)
  ) as found
  where found.fault is not null
  order by nth limit 1;
  if found then
    raise exception using
      errcode = fault[1],
      message = format('event %s: %s', fault[5], fault[4]),
      detail = jsonb_strip_nulls(jsonb_build_object('index', fault[5]::int, 'path', nullif(fault[2], ''), 'limit', nullif(fault[3], '')::int))::text,
      hint = 'Nothing was written. Mend the event, or roll back.';
  end if;

  -- Locks in one order for all, so that two producers cannot block each other for ever.
  for lock_key in
    select distinct hashtextextended('postrider.key:' || (event ->> 'key'), 0)
    from jsonb_array_elements(events) as item (event)
    where event ->> 'order' = 'commit' and event ? 'key'
    order by 1
  loop
    perform pg_advisory_xact_lock(lock_key);
  end loop;

  return query
    insert into postrider.events
      (id, bucket, type, key, source, subject, tenant, time, deliver_at, content_type, headers, payload, payload_bytes)
    select
      coalesce((event ->> 'id')::uuid, postrider.uuidv7()),
      coalesce(postrider.bucket_of(event ->> 'key'), floor(random() * 256)::smallint),
      event ->> 'type',
      event ->> 'key',
      coalesce(event ->> 'source', 'postgresql/' || current_database()),
      event ->> 'subject',
      event ->> 'tenant',
      (event ->> 'time')::timestamptz,
      (event ->> 'deliver_at')::timestamptz,
      coalesce(event ->> 'content_type', case when event ? 'payload_base64' then 'application/octet-stream' else 'application/json' end),
      coalesce(event -> 'headers', '{}'),
      event -> 'payload',
      decode(event ->> 'payload_base64', 'base64')
    from jsonb_array_elements(events) with ordinality as item (event, nth)
    order by nth
    returning events.id;

  -- The gate: a relay that sleeps holds this lock exclusively, and only then does a producer pay for NOTIFY.
  -- Taken shared until the end of the transaction, so that no relay can fall asleep between this insert and its commit.
  if current_setting('postrider.wake', true) is distinct from 'off'
     and not pg_try_advisory_xact_lock_shared(hashtextextended('postrider.wake', 0)) then
    notify postrider;
  end if;
end
$$;
revoke execute on function postrider.emit(jsonb) from public;
