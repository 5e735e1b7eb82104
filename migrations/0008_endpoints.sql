-- Endpoints: many destinations in one sink. An endpoint is a sink in every respect, with lanes, cursor, circuit and limits of
-- its own; what stands here is where it sends, and that can change while relays run.
--
-- Errors of these functions: PR005 invalid_endpoint, with DETAIL {"path": "url"} as JSON.

create table postrider.endpoints (
  sink         text        primary key references postrider.sinks on delete cascade,
  url          text        not null,
  secrets      jsonb       not null,
  headers      jsonb       not null default '{}',
  format       text,
  verification text        not null default 'none' constraint endpoints_verification check (verification in ('none', 'ping', 'cloudevents')),
  verified_at  timestamptz,
  created_by   text        not null,
  created_at   timestamptz not null default clock_timestamp(),
  changed_at   timestamptz not null default clock_timestamp()
);
comment on table postrider.endpoints is 'Where the endpoints of sinks that fan out send. Written through add_endpoint, change_endpoint and remove_endpoint.';
comment on column postrider.endpoints.url is 'Counts as a secret, for some services it is the credential: views show its origin only.';
comment on column postrider.endpoints.secrets is '{"current": [secret], "previous": [{"secret": secret, "until": time}]}; a secret is sealed:<key id>:<base64url>, or a reference that the relay follows: env:NAME or file:/path.';
comment on column postrider.endpoints.headers is 'Sent with every request. A value is plain text, or sealed:<key id>:<base64url>.';
comment on column postrider.endpoints.format is 'Format of the requests, when it is not that of the sink.';
comment on column postrider.endpoints.verification is 'What has to succeed before anything is sent: none; ping, a signed request; cloudevents, its consent by the handshake of CloudEvents, after which each request tells the name of the sender.';

-- Scheme, host and port of a URL; the rest may be a credential.
create function postrider.origin_of(url text) returns text
  language sql immutable strict parallel safe
  return lower(substring(url from '^[A-Za-z]+://[^/?#]*'));

-- A text that holds no secret itself: sealed, or a reference.
create function postrider.is_hidden(secret jsonb) returns boolean
  language sql immutable
  return jsonb_typeof(secret) = 'string' and length(secret #>> '{}') <= 1024
    and (secret #>> '{}') ~ '^(sealed:[0-9a-f]{8}:[A-Za-z0-9_-]{40}[A-Za-z0-9_-]*|env:[A-Za-z_][A-Za-z0-9_]*|file:/[!-~][ -~]*)$';

create function postrider.is_former_secret(former jsonb) returns boolean
  language sql immutable
  return jsonb_typeof(former) = 'object' and former - array['secret', 'until'] = '{}'
    and postrider.is_hidden(former -> 'secret') and coalesce(postrider.is_time(former ->> 'until'), false);

-- What is wrong with the settings of an endpoint, as {path, message}, or null: the first rule that they break. Which hosts
-- may be reached, and whether a secret can be read, the relay knows.
create function postrider.fault_of_endpoint(endpoint postrider.endpoints, types text[], tenant text) returns text[]
  language plpgsql immutable set search_path = pg_catalog, pg_temp as
$$
declare
  secrets constant jsonb := endpoint.secrets;
  header record;
begin
  if endpoint.url is null or length(endpoint.url) > 2048 or endpoint.url !~ '^https?://[^/?#@\\]+([/?][^#\\]*)?$' or endpoint.url !~ '^[!-~]+$' then
    return array['url', 'url is https://host/path of at most 2048 visible ASCII characters, without user, password or fragment'];
  end if;

  if jsonb_typeof(secrets) is distinct from 'object' or secrets - array['current', 'previous'] <> '{}' then
    return array['secrets', 'secrets are an object with current and, if need be, previous'];
  end if;
  if jsonb_typeof(secrets -> 'current') is distinct from 'array' or jsonb_array_length(secrets -> 'current') not between 1 and 2
     or exists (select from jsonb_array_elements(secrets -> 'current') as one (secret) where not postrider.is_hidden(one.secret)) then
    return array['secrets.current', 'secrets.current is a list of one or two: each sealed, env:NAME or file:/path, never the secret itself'];
  end if;
  if secrets ? 'previous' and (
     jsonb_typeof(secrets -> 'previous') <> 'array' or jsonb_array_length(secrets -> 'previous') > 3
     or exists (select from jsonb_array_elements(secrets -> 'previous') as one (former) where not postrider.is_former_secret(one.former))) then
    return array['secrets.previous', 'secrets.previous is a list of at most three {secret, until}: the secret as in current, the time as ISO 8601 with its zone'];
  end if;

  if jsonb_typeof(endpoint.headers) is distinct from 'object' then
    return array['headers', 'headers are an object of names and strings'];
  end if;
  if (select count(*) from jsonb_object_keys(endpoint.headers)) > 32 then
    return array['headers', 'there are more than 32 headers: give at most 32'];
  end if;
  for header in select h.key as name, h.value from jsonb_each(endpoint.headers) as h loop
    if length(header.name) > 128 or header.name !~ '^[A-Za-z0-9!#$%&''*+.^_`|~-]+$' or header.name ~* '^(webhook-|ce-|proxy-|postrider-)' then
      return array['headers.' || left(header.name, 128), 'a header has a name of at most 128 characters as in RFC 9110 section 5.6.2, and none that the sink sets itself'];
    end if;
    if jsonb_typeof(header.value) <> 'string' or length(header.value #>> '{}') > 8192 or (header.value #>> '{}') !~ '^[!-~][ -~\t]*$' then
      return array['headers.' || header.name, 'the value of a header is visible ASCII of at most 8192 characters'];
    end if;
  end loop;

  return case
    when endpoint.format !~ '^[a-z][a-z-]*$' then array['format', 'format is one of those of the sink, in lower case']
    when not postrider.are_type_filters(types) then array['types', 'types are filters: segments joined by dots, * for any one, ** (last) for the rest']
    when length(tenant) not between 1 and 512 then array['tenant', 'tenant has 1 to 512 characters']
  end;
end
$$;

create function postrider.refuse_endpoint(path text, message text) returns void
  language plpgsql immutable set search_path = pg_catalog, pg_temp as
$$
begin
  raise exception using
    errcode = 'PR005', message = refuse_endpoint.message, detail = jsonb_build_object('path', refuse_endpoint.path),
    hint = 'Nothing of this call was written.';
end
$$;

-- Adds an endpoint to a sink that fans out, whose settings it follows (ordering, dead letters, audit, limits). `pending`: it
-- gets nothing until it is verified, and then all that was written since now. Returns its row as a sink.
create function postrider.add_endpoint(
  sink text, name text, url text, secrets jsonb, types text[] default null, tenant text default null, headers jsonb default '{}',
  state text default 'active', starts text default 'now', lanes int default null, format text default null,
  verification text default 'none', actor text default current_user
) returns postrider.sinks
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
  start constant postrider.start := postrider.start_of(starts);
  endpoint postrider.endpoints;
  family postrider.sinks;
  stored postrider.sinks;
  fault text[];
begin
  select * into family from postrider.sinks as s where s.name = add_endpoint.sink for share;
  if not found or not family.fans_out then
    perform postrider.refuse_endpoint('sink', format('there is no sink %s with endpoints: a relay brings it from its configuration', sink));
  end if;
  if name is null or name !~ '^[a-z0-9][a-z0-9_-]{0,62}$' then
    perform postrider.refuse_endpoint('name', 'name is 1 to 63 lower-case letters, digits, _ and -');
  end if;
  if state is null or state not in ('pending', 'active') then
    perform postrider.refuse_endpoint('state', 'state is pending or active');
  end if;
  if lanes not between 1 and 64 then
    perform postrider.refuse_endpoint('lanes', 'lanes are 1 to 64');
  end if;
  if verification is null or verification not in ('none', 'ping', 'cloudevents') then
    perform postrider.refuse_endpoint('verification', 'verification is none, ping or cloudevents');
  end if;
  endpoint.sink := sink || '/' || name;
  endpoint.url := url;
  endpoint.secrets := secrets;
  endpoint.headers := headers;
  endpoint.format := format;
  fault := postrider.fault_of_endpoint(endpoint, types, tenant);
  if fault is not null then
    perform postrider.refuse_endpoint(fault[1], fault[2]);
  end if;

  insert into postrider.sinks (name, kind, state, state_by, lanes, types, tenant, ordering, on_dead, audit, concurrency, rate, family, origin)
  values (endpoint.sink, family.kind, add_endpoint.state, actor, coalesce(add_endpoint.lanes, family.lanes), add_endpoint.types, add_endpoint.tenant,
    family.ordering, family.on_dead, family.audit, family.concurrency, family.rate, add_endpoint.sink, start.origin)
  on conflict do nothing
  returning * into stored;
  if not found then
    perform postrider.refuse_endpoint('name', format('there is an endpoint %s already', endpoint.sink));
  end if;
  perform postrider.begin_sink(stored, start);
  insert into postrider.endpoints (sink, url, secrets, headers, format, verification, created_by)
  values (stored.name, endpoint.url, endpoint.secrets, endpoint.headers, endpoint.format, add_endpoint.verification, actor);
  insert into postrider.actions (actor, action, sink, detail)
  values (add_endpoint.actor, 'added', stored.name, jsonb_strip_nulls(jsonb_build_object(
    'origin', postrider.origin_of(endpoint.url), 'state', stored.state, 'starts', starts, 'types', stored.types, 'tenant', stored.tenant)));
  perform postrider.tell_relays();
  return stored;
end
$$;

-- Changes what is named in `changes`: url, secrets, headers, types, tenant, format; null takes the setting back. It holds at
-- once, for what waits too. Returns whether there is such an endpoint.
create function postrider.change_endpoint(endpoint text, changes jsonb, reason text default null, actor text default current_user) returns boolean
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
  was postrider.endpoints;
  changed postrider.endpoints;
  new_types text[];
  new_tenant text;
  unknown text;
  fault text[];
begin
  if jsonb_typeof(changes) is distinct from 'object' then
    perform postrider.refuse_endpoint('changes', 'changes are an object of settings');
  end if;
  select k into unknown from jsonb_object_keys(changes) as k where k not in ('url', 'secrets', 'headers', 'types', 'tenant', 'format') limit 1;
  if found then
    perform postrider.refuse_endpoint(left(unknown, 128), format('%s cannot be changed: there are url, secrets, headers, types, tenant and format', left(unknown, 128)));
  end if;
  if changes ? 'types' and jsonb_typeof(changes -> 'types') not in ('array', 'null') then
    perform postrider.refuse_endpoint('types', 'types are a list of filters');
  end if;

  -- In the order in which circuits and sinks are locked everywhere.
  perform from postrider.circuits as c where c.sink = change_endpoint.endpoint for update;
  select e.* into was from postrider.endpoints as e where e.sink = change_endpoint.endpoint for update;
  if not found then
    return false;
  end if;
  changed := was;
  changed.url := case when changes ? 'url' then changes ->> 'url' else was.url end;
  changed.secrets := case when changes ? 'secrets' then changes -> 'secrets' else was.secrets end;
  changed.headers := case when changes ? 'headers' then coalesce(nullif(changes -> 'headers', 'null'), '{}') else was.headers end;
  changed.format := case when changes ? 'format' then changes ->> 'format' else was.format end;
  select
    case when not changes ? 'types' then s.types
      when jsonb_typeof(changes -> 'types') = 'array' then array(select jsonb_array_elements_text(changes -> 'types')) end,
    case when changes ? 'tenant' then changes ->> 'tenant' else s.tenant end
  into new_types, new_tenant
  from postrider.sinks as s where s.name = change_endpoint.endpoint for update;
  fault := postrider.fault_of_endpoint(changed, new_types, new_tenant);
  if fault is not null then
    perform postrider.refuse_endpoint(fault[1], fault[2]);
  end if;

  update postrider.endpoints as e
  set url = changed.url, secrets = changed.secrets, headers = changed.headers, format = changed.format, changed_at = clock_timestamp(),
    verified_at = case when changed.url = was.url then was.verified_at end
  where e.sink = change_endpoint.endpoint;
  update postrider.sinks as s set types = new_types, tenant = new_tenant, changed_at = clock_timestamp() where s.name = change_endpoint.endpoint;
  if (changed.url, changed.secrets, changed.headers, changed.format) is distinct from (was.url, was.secrets, was.headers, was.format) then
    -- What the old settings have led to says nothing about the new ones: they are tried at once.
    update postrider.circuits as c
    set until = case when c.state <> 'closed' then clock_timestamp() end, quiet_until = null, gone_at = null, changed_at = clock_timestamp()
    where c.sink = change_endpoint.endpoint;
  end if;
  insert into postrider.actions (actor, action, sink, reason, detail)
  values (change_endpoint.actor, 'changed', change_endpoint.endpoint, change_endpoint.reason, jsonb_strip_nulls(jsonb_build_object(
    'changed', (select jsonb_agg(k order by k) from jsonb_object_keys(changes) as k),
    'origin', case when changed.url <> was.url then postrider.origin_of(changed.url) end,
    'from_origin', case when changed.url <> was.url then postrider.origin_of(was.url) end)));
  perform postrider.tell_relays();
  return true;
end
$$;

-- An endpoint has been verified: one that is pending becomes active. What it allows, in events a second, is a limit from then
-- on, unless a lower one holds already. Returns its state; null when it is not there.
create function postrider.verify_endpoint(
  endpoint text, verification text, actor text default current_user, allowed_rate real default null
) returns text
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
  stored postrider.sinks;
begin
  update postrider.endpoints as e
  set verification = verify_endpoint.verification, verified_at = case when verify_endpoint.verification <> 'none' then clock_timestamp() end
  where e.sink = verify_endpoint.endpoint;
  -- What is sent there depends on it, and relays look again at what has changed.
  update postrider.sinks as s set changed_at = clock_timestamp()
  from postrider.endpoints as e where e.sink = s.name and s.name = verify_endpoint.endpoint
  returning s.* into stored;
  if not found then
    return null;
  end if;
  perform postrider.tell_relays();
  if allowed_rate < coalesce(stored.live_rate, stored.rate, 'infinity') then
    perform postrider.set_limits(endpoint, stored.live_concurrency, allowed_rate, 'what the endpoint allows', actor);
  end if;
  if stored.state = 'pending' then
    return postrider.set_state(endpoint, 'active', 'verified by ' || verification, actor);
  end if;
  return stored.state;
end
$$;

-- An endpoint goes, as drop_sink says; null when there is none of this name. With the rights of the owner, so that nobody else has
-- to be able to delete sinks.
create function postrider.remove_endpoint(endpoint text, reason text, actor text default current_user) returns bigint
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
  origin text;
begin
  perform postrider.lock_for_removal(endpoint);
  select postrider.origin_of(e.url) into origin
  from postrider.endpoints as e join postrider.sinks as s on s.name = e.sink where e.sink = remove_endpoint.endpoint for update;
  if not found then
    return null;
  end if;
  return postrider.drop_sink(endpoint, reason, actor, jsonb_build_object('origin', origin));
end
$$;

-- Notices about endpoints: ordinary events of the log, in the transaction that makes them true. An endpoint gets those of
-- others only when its types name them, and one with a tenant never. (The type is written in two halves because the name of
-- the schema is put in wherever it stands whole.)
create function postrider.tell_endpoint(endpoint text, what text, reason text default null, actor text default null) returns void
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
  known record;
begin
  select s.family, s.tenant, s.state, s.state_since, postrider.origin_of(e.url) as origin, c.failing_since, c.failures, c.error_code, c.error
  into known
  from postrider.endpoints as e
  join postrider.sinks as s on s.name = e.sink
  left join postrider.circuits as c on c.sink = e.sink
  where e.sink = tell_endpoint.endpoint;
  if not found then
    return;
  end if;
  perform postrider.emit(jsonb_build_object(
    'type', 'post' || 'rider.endpoint.' || what, 'source', 'post' || 'rider', 'key', endpoint, 'subject', endpoint,
    'payload', jsonb_strip_nulls(jsonb_build_object(
      'sink', known.family, 'endpoint', endpoint, 'origin', known.origin, 'tenant', known.tenant, 'state', known.state,
      'since', coalesce(known.failing_since, known.state_since), 'failures', known.failures,
      'error_code', known.error_code, 'error', known.error, 'reason', reason, 'actor', actor))));
end
$$;

-- Which notice about a failing is due after this time: the first, second or third.
create function postrider.notice_due("for" interval) returns int
  language sql immutable
  return case when "for" >= interval '72 hours' then 3 when "for" >= interval '24 hours' then 2 when "for" >= interval '15 minutes' then 1 else 0 end;

-- Tells of endpoints that fail, once after 15 minutes, 24 hours and 72 hours; disables those without a success for 120 hours
-- and 20 attempts or more. Relays ask for this now and then; any number of them may. Returns how many were told of.
create function postrider.tell_endpoints() returns int
  language plpgsql volatile set search_path = pg_catalog, pg_temp as
$$
declare
  failing postrider.circuits;
  since interval;
  told int := 0;
begin
  for failing in
    select c.* from postrider.circuits as c
    join postrider.sinks as s on s.name = c.sink
    where s.family is not null and s.state = 'active'
      and (postrider.notice_due(clock_timestamp() - c.failing_since) > c.told
        or (c.failing_since <= clock_timestamp() - interval '120 hours' and c.failures >= 20))
    order by c.sink
    for update of c skip locked
  loop
    since := clock_timestamp() - failing.failing_since;
    if since >= interval '120 hours' and failing.failures >= 20 then
      perform postrider.set_state(failing.sink, 'disabled',
        format('no success since %s, and %s failed attempts', to_char(failing.failing_since at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), failing.failures), 'postrider');
    else
      update postrider.circuits as c set told = postrider.notice_due(since) where c.sink = failing.sink;
      perform postrider.tell_endpoint(failing.sink, 'failing');
    end if;
    told := told + 1;
  end loop;
  return told;
end
$$;

-- What is to be known of every endpoint, and may be shown.
create view postrider.endpoint_status as
select e.sink as endpoint, s.family as sink, postrider.origin_of(e.url) as origin,
  case when s.state = 'active' and c.state in ('open', 'half_open') then 'degraded' else s.state end as state,
  s.state_since, s.state_until, s.state_by, s.state_reason, s.types, s.tenant, s.lanes,
  coalesce(s.live_concurrency, s.concurrency) as concurrency, coalesce(s.live_rate, s.rate) as rate,
  c.failing_since, coalesce(c.failures, 0) as failures, c.until as circuit_until, c.error_code, c.error,
  e.format, array(select h from jsonb_object_keys(e.headers) as h order by h) as headers,
  e.verification, e.verified_at, e.created_by, e.created_at, greatest(e.changed_at, s.changed_at) as changed_at
from postrider.endpoints as e
join postrider.sinks as s on s.name = e.sink
left join postrider.circuits as c on c.sink = e.sink;
comment on view postrider.endpoint_status is 'Endpoints and how they are. degraded: active, and its circuit does not let everything through.';
