-- emit: the one door into the log, for every language. Takes one event or an array of events, returns their ids in order.
--
--   select postrider.emit('{"type": "order.placed", "key": "o-1", "payload": {"total": 3}}');
--
-- Attributes of an event: type (required), id, key, source, subject, tenant, payload, payload_base64, content_type,
-- headers, time, deliver_at, expires_at, order; an attribute that is null counts as absent, but for payload, where it is the payload.
-- With "order": "commit" the key is locked until the end of the transaction, so that positions follow the order of
-- commits even for writers that share no row lock.
--
-- Errors, with DETAIL {"index": 0, "path": "headers.x-shop", "limit": 128} as JSON (no path when the event itself is
-- wrong, a limit where there is one): PR001 invalid_event, PR002 invalid_payload, PR003 payload_too_large.
-- What JSON in PostgreSQL cannot hold (the character U+0000, half a surrogate pair) fails before, at the cast to jsonb.
--
-- A transaction that will be prepared (two-phase commit) must not NOTIFY: it says `set local postrider.wake = off` first.

-- PostgreSQL itself knows best what a time is. Only the form is fixed, so that no setting of the session has a say.
create function postrider.is_time(value text) returns boolean
  language plpgsql immutable strict as
$$
begin
  return value like '____-__-_____:__%' and value ~ '^[0-9-]+[T ][0-9:.]+(Z|[+-][0-9:]+)$' and value::timestamptz is not null;
exception when data_exception then
  return false;
end
$$;

-- Bytes of a text in base64 (RFC 4648, section 4; line breaks may stand in it), or null.
create function postrider.bytes_of(base64 text) returns bytea
  language plpgsql immutable strict as
$$
begin
  return decode(base64, 'base64');
exception when data_exception then
  return null;
end
$$;

-- What is wrong with an attribute of text. This and the following are single expressions, so that PostgreSQL puts them
-- into the statement that calls them.
create function postrider.fault_of_text(event jsonb, name text, longest int) returns text[]
  language sql immutable
  return case
    when coalesce(jsonb_typeof(event -> name), 'null') = 'null' then null
    when jsonb_typeof(event -> name) <> 'string'
      then array['PR001', name, null, name || ' is a JSON ' || jsonb_typeof(event -> name) || ': give a string']
    when length(event ->> name) not between 1 and longest
      then array['PR001', name, longest::text, name || ' has ' || length(event ->> name)::text || ' characters: give 1 to ' || longest::text]
  end;

create function postrider.fault_of_time(event jsonb, name text) returns text[]
  language sql immutable
  return case
    when not postrider.is_time(event ->> name)
      then array['PR001', name, null, name || ' is not a time: give ISO 8601 with its zone, such as 2026-01-31T08:30:00Z']
  end;

create function postrider.fault_of_headers(headers jsonb) returns text[]
  language plpgsql immutable as
$$
declare
  name text;
  value jsonb;
  header_count int := 0;
  fault text[]; -- limit, message
begin
  if jsonb_typeof(headers) = 'null' then
    return null;
  end if;
  if jsonb_typeof(headers) <> 'object' then
    return array['PR001', 'headers', null, 'headers are a JSON ' || jsonb_typeof(headers) || ': give an object of names and strings'];
  end if;
  for name, value in select h.key, h.value from jsonb_each(headers) as h loop
    header_count := header_count + 1;
    if header_count > 32 then
      return array['PR001', 'headers', '32', 'there are more than 32 headers: give at most 32'];
    end if;
    fault := case
      when length(name) > 128 then array['128', 'has a name of ' || length(name)::text || ' characters: give at most 128']
      when name !~ '^[a-z0-9!#$%&''*+.^_`|~-]+$' then array[null, 'is not a header name in lower case: see RFC 9110 section 5.6.2']
      when name ~ '^(webhook-|ce-|postrider-)' then array[null, 'is reserved: sinks write webhook-, ce- and postrider-; choose another name']
      when jsonb_typeof(value) <> 'string' then array[null, 'is a JSON ' || jsonb_typeof(value) || ': give a string']
      when length(value #>> '{}') > 4096 then array['4096', 'has a value of ' || length(value #>> '{}')::text || ' characters: give at most 4096']
      when (value #>> '{}') !~ '^[ -~\t]*$' then array[null, 'has other characters than visible ASCII, space and tab: encode them']
    end;
    if fault is not null then
      return array['PR001', 'headers.' || left(name, 128), fault[1], 'header ' || left(name, 128) || ' ' || fault[2]];
    end if;
  end loop;
  return null;
end
$$;

-- The limit is a wall: twice what writers allow at their edge (262144 bytes of JSON as they write it), because PostgreSQL
-- writes JSON with blanks, and numbers without exponents.
create function postrider.fault_of_payload(event jsonb) returns text[]
  language sql immutable
  return case
    when octet_length((event -> 'payload')::text) > 524288
      then array['PR003', 'payload', '524288', 'payload has ' || octet_length((event -> 'payload')::text)::text
        || ' bytes, the limit is 524288: store the document elsewhere and send a reference to it']
    when coalesce(jsonb_typeof(event -> 'payload_base64'), 'null') = 'null' then null
    when event ? 'payload' then array['PR001', 'payload_base64', null, 'payload and payload_base64 are both there: give one of them']
    when jsonb_typeof(event -> 'payload_base64') <> 'string' or postrider.bytes_of(event ->> 'payload_base64') is null
      then array['PR002', 'payload_base64', null, 'payload_base64 is not base64: give the bytes as RFC 4648 section 4 writes them, with padding']
    when octet_length(postrider.bytes_of(event ->> 'payload_base64')) > 524288
      then array['PR003', 'payload_base64', '524288', 'payload_base64 holds ' || octet_length(postrider.bytes_of(event ->> 'payload_base64'))::text
        || ' bytes, the limit is 524288: store the document elsewhere and send a reference to it']
  end;

-- What is left of an event when all that it may have is taken away.
create function postrider.without_attributes(event jsonb) returns jsonb
  language sql immutable
  return event - array['type', 'id', 'key', 'source', 'subject', 'tenant', 'payload', 'payload_base64', 'content_type', 'headers', 'time', 'deliver_at', 'expires_at', 'order'];

create function postrider.fault_of_name(name text) returns text[]
  language sql immutable
  return array['PR001', left(name, 128), null, left(name, 128) || ' is not an attribute of an event: mend its spelling, or put it into the payload'];

-- What is wrong with an event, as {errcode, path, limit, message}, or null: the first rule that it breaks.
create function postrider.fault_of(event jsonb) returns text[]
  language sql immutable
  return case
    when jsonb_typeof(event) <> 'object' then array['PR001', null, null, 'it is a JSON ' || jsonb_typeof(event) || ': give an object']
    when postrider.without_attributes(event) <> '{}'
      then postrider.fault_of_name(substring(postrider.without_attributes(event)::text from '^\{"((?:[^"\\]|\\.)*)'))
    else coalesce(
      postrider.fault_of_text(event, 'type', 128),
      case when (event ->> 'type') ~ '^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+){0,9}$' then null
        else array['PR001', 'type', null, 'type is one to ten segments of letters, digits and _, joined by dots, such as order.placed'] end,
      case when event ? 'id' and not ((event ->> 'id') like '________-____-____-____-____________'
          and (event ->> 'id') ~ '^[0-9A-Fa-f-]+$' and length(replace(event ->> 'id', '-', '')) = 32)
        then array['PR001', 'id', null, 'id is not a UUID: give 32 hexadecimal digits as 8-4-4-4-12, or none'] end,
      postrider.fault_of_text(event, 'key', 512),
      postrider.fault_of_text(event, 'source', 512),
      postrider.fault_of_text(event, 'subject', 512),
      postrider.fault_of_text(event, 'tenant', 512),
      postrider.fault_of_text(event, 'content_type', 512),
      case when (event ->> 'content_type') !~ '^[!-~]+/[!-~][ -~]*$'
        then array['PR001', 'content_type', null, 'content_type is not a media type: give one such as application/json'] end,
      postrider.fault_of_time(event, 'time'),
      postrider.fault_of_time(event, 'deliver_at'),
      postrider.fault_of_time(event, 'expires_at'),
      case when (event ->> 'expires_at')::timestamptz <= (event ->> 'deliver_at')::timestamptz
        then array['PR001', 'expires_at', null, 'expires_at is not after deliver_at: it would never be delivered'] end,
      case when (event ->> 'order') not in ('insert', 'commit') then array['PR001', 'order', null, 'order is neither insert nor commit']
        when (event ->> 'order') = 'commit' and (event ->> 'key') is null
          then array['PR001', 'order', null, 'order commit is the order within a key: give a key'] end,
      case when event ? 'headers' then postrider.fault_of_headers(event -> 'headers') end,
      postrider.fault_of_payload(event))
  end;

-- True for an event as most are: what a writer gives it, and nothing wrong with that. To begin with the expression above costs a
-- transaction more than the insert; this has few steps, because one predicate of JSON path stands for many. (Its `lax` mode looks
-- into arrays, but for `type()`. Few characters in all are few in each of the attributes.)
create function postrider.is_plain(event jsonb) returns boolean
  language sql immutable
  return jsonb_typeof(event) = 'object'
    and event - array['id', 'type', 'key', 'source', 'payload'] = '{}'
    and length((event - 'payload')::text) <= 512
    and length(event ->> 'type') <= 128
    and event @@ '$.id.type() == "string" && $.id like_regex "^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$"
      && $.type.type() == "string" && $.type like_regex "^[A-Za-z0-9_]+(\\.[A-Za-z0-9_]+){0,9}$"
      && $.source.type() == "string" && $.source != "" && (!exists($.key) || $.key.type() == "string" && $.key != "")'
    and coalesce(octet_length((event -> 'payload')::text) <= 524288, true);

-- What is wrong with an event that is not plain. In PL/pgSQL, so that it is not put into the statement that calls it.
create function postrider.examine(event jsonb) returns text[]
  language plpgsql immutable as
$$
begin
  return postrider.fault_of(event);
end
$$;

-- The lock of a key with "order": "commit".
create function postrider.lock_of(key text) returns bigint
  language sql immutable
  return hashtextextended('postrider.key:' || key, 0);

-- The gate, between producers and relays that sleep: a relay that falls asleep holds it, and only then does a producer pay for
-- NOTIFY. It is of eight locks, and a producer takes one of them, so that many who commit at once don't stand in line for one.
create function postrider.gate_lock(nr int) returns bigint
  language sql immutable parallel safe
  return hashtextextended('postrider.wake', 0) + nr;

-- Closes the gate for this session, without waiting: `ours`; `theirs` when another relay holds it; `open` when a producer's
-- transaction keeps it open.
create function postrider.close_gate() returns text
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
begin
  if not pg_try_advisory_lock(postrider.gate_lock(0)) then
    -- The last one is taken last: whoever has it has all of them.
    if not pg_try_advisory_lock_shared(postrider.gate_lock(7)) then
      return 'theirs';
    end if;
    perform pg_advisory_unlock_shared(postrider.gate_lock(7));
    return 'open';
  end if;
  for nr in 1..7 loop
    if not pg_try_advisory_lock(postrider.gate_lock(nr)) then
      perform pg_advisory_unlock(postrider.gate_lock(taken)) from generate_series(0, nr - 1) as taken;
      return 'open';
    end if;
  end loop;
  return 'ours';
end
$$;

-- Opens it again: true when this session held it.
create function postrider.open_gate() returns boolean
  language sql volatile set search_path = pg_catalog, pg_temp as
$$
  select bool_and(pg_advisory_unlock(postrider.gate_lock(nr))) from generate_series(0, 7) as nr
$$;

create function postrider.emit(events jsonb) returns setof uuid
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
  -- The event when there is one, alone or in an array; null when there are none or many.
  event constant jsonb := case
    when jsonb_typeof(events) is distinct from 'array' then coalesce(events, 'null')
    when jsonb_array_length(events) = 1 then events -> 0
  end;
  plain constant boolean := coalesce(postrider.is_plain(event), false);
  fault text[];
  index int := 0;
  lock_key bigint;
  written_id uuid;
  written_bucket smallint; -- of a single event
begin
  if event is null then
    select item.nth - 1, postrider.fault_of(item.event) into index, fault
    from jsonb_array_elements(events) with ordinality as item (event, nth)
    where postrider.fault_of(item.event) is not null
    order by item.nth limit 1;
  elsif not plain then
    fault := postrider.examine(event);
  end if;
  if fault is not null then
    raise exception using
      errcode = fault[1],
      message = format('event %s: %s', index, fault[4]),
      detail = jsonb_strip_nulls(jsonb_build_object('index', index, 'path', fault[2], 'limit', fault[3]::int)),
      hint = 'Nothing of this call was written. Mend the event, or roll back.';
  end if;

  if plain then
    insert into postrider.events as written (id, bucket, type, key, source, content_type, payload)
    values (
      (event ->> 'id')::uuid,
      coalesce(postrider.bucket_of(event ->> 'key'), floor(random() * 256)::smallint),
      event ->> 'type',
      event ->> 'key',
      event ->> 'source',
      'application/json',
      event -> 'payload')
    returning written.id, written.bucket into written_id, written_bucket;
    return next written_id;
  elsif event is not null then
    if event ->> 'order' = 'commit' then
      perform pg_advisory_xact_lock(postrider.lock_of(event ->> 'key'));
    end if;
    insert into postrider.events as written
      (id, bucket, type, key, source, subject, tenant, time, deliver_at, expires_at, content_type, headers, payload, payload_bytes)
    values (
      coalesce((event ->> 'id')::uuid, postrider.uuidv7()),
      coalesce(postrider.bucket_of(event ->> 'key'), floor(random() * 256)::smallint),
      event ->> 'type',
      event ->> 'key',
      coalesce(event ->> 'source', 'postgresql/' || current_database()),
      event ->> 'subject',
      event ->> 'tenant',
      (event ->> 'time')::timestamptz,
      (event ->> 'deliver_at')::timestamptz,
      (event ->> 'expires_at')::timestamptz,
      coalesce(event ->> 'content_type', case when event ->> 'payload_base64' is null then 'application/json' else 'application/octet-stream' end),
      coalesce(nullif(event -> 'headers', 'null'), '{}'),
      event -> 'payload',
      decode(event ->> 'payload_base64', 'base64'))
    returning written.id, written.bucket into written_id, written_bucket;
    return next written_id;
  else
    -- Locks in one order for all, so that two producers cannot block each other for ever.
    for lock_key in
      select distinct postrider.lock_of(item.event ->> 'key')
      from jsonb_array_elements(events) as item (event)
      where item.event ->> 'order' = 'commit'
      order by 1
    loop
      perform pg_advisory_xact_lock(lock_key);
    end loop;
    return query
      insert into postrider.events as written
        (id, bucket, type, key, source, subject, tenant, time, deliver_at, expires_at, content_type, headers, payload, payload_bytes)
      select
        coalesce((item.event ->> 'id')::uuid, postrider.uuidv7()),
        coalesce(postrider.bucket_of(item.event ->> 'key'), floor(random() * 256)::smallint),
        item.event ->> 'type',
        item.event ->> 'key',
        coalesce(item.event ->> 'source', 'postgresql/' || current_database()),
        item.event ->> 'subject',
        item.event ->> 'tenant',
        (item.event ->> 'time')::timestamptz,
        (item.event ->> 'deliver_at')::timestamptz,
        (item.event ->> 'expires_at')::timestamptz,
        coalesce(item.event ->> 'content_type', case when item.event ->> 'payload_base64' is null then 'application/json' else 'application/octet-stream' end),
        coalesce(nullif(item.event -> 'headers', 'null'), '{}'),
        item.event -> 'payload',
        decode(item.event ->> 'payload_base64', 'base64')
      from jsonb_array_elements(events) with ordinality as item (event, nth)
      order by item.nth
      returning written.id;
  end if;
  if not found then
    return; -- an empty array
  end if;

  -- Taken shared until the end of the transaction, so that no relay can fall asleep between this insert and its commit. The
  -- notification of a single event says where it is.
  if current_setting('postrider.wake', true) is distinct from 'off'
     and not pg_try_advisory_xact_lock_shared(postrider.gate_lock(pg_backend_pid() % 8)) then
    perform pg_notify('postrider', coalesce(written_bucket::text, ''));
  end if;
end
$$;
